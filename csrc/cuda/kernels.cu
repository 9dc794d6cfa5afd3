// From dtypes and functions to templates, and from calls to launches. No header of torch: nvcc would read it once per
// architecture.
#include "../functions/erf.h"
#include "../functions/tanh.h"
#include "backward.cuh"
#include "forward.cuh"

namespace derf::cuda {
namespace {

// Calls body(T{}) with the type of input.
template <class Body>
auto with_type(Type type, const Body& body) {
  switch (type) {
    case Type::f64: return body(double{});
    case Type::f32: return body(float{});
    case Type::f16: return body(Half{});
    default: return body(BFloat16{});
  }
}

// What a kernel of one function, known at compile time, does not do.
bool is_general(const Call& call) {
  const bool grouped = call.shape.groups > 1 && !call.adds;
  return call.alpha_per_channel || grouped || call.weight_offset != 0 || call.study.is_active();
}

// Calls body.operator()<Applied>(): kernels of their own for erf and tanh, and one that serves all else.
template <class T, class Body>
auto with_function(const Call& call, const Body& body) {
  if (!is_general(call) && call.function == Function::erf) {
    return body.template operator()<Fixed<Erf, T>>();
  } else if (!is_general(call) && call.function == Function::tanh) {
    return body.template operator()<Fixed<Tanh, T>>();
  } else {
    return body.template operator()<General<T>>();
  }
}

// Calls body.operator()<Applied, width, by_channel, In>() where kernels of their own are worth it for rows alone.
template <class In, class T, int most, class Body>
auto with_rows(const Call& call, bool by_channel, bool wide, const Body& body) {
  if (by_channel) {
    return body.template operator()<General<T>, 1, true, In>();
  } else if (!wide) {
    return body.template operator()<General<T>, 1, false, In>();
  }
  return with_function<T>(call, [&]<class Applied>() {
    constexpr int width = vector_width<T>, most_of_any = sizeof(T) == 8 ? 1 : most,
                  some = Applied::is_general && width > most_of_any ? most_of_any : width;  // as registers allow
    return body.template operator()<Applied, some, false, In>();
  });
}

// Calls body.operator()<Applied, width, by_channel, In>(), with the width of loads that all of these addresses and the
// shape allow. `few`: kernels for rows alone are enough.
template <bool few = false, class Body, class... Pointers>
auto with_kernel(const Call& call, const Body& body, const Pointers*... pointers) {
  return with_type(call.type, [&](auto t) {
    using T = decltype(t);
    constexpr int width = vector_width<T>;
    const bool by_channel = is_by_channel(call.shape);
    const int64_t stretch = by_channel ? call.shape.inner : call.shape.channels * call.shape.inner;
    const bool wide = ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...) && stretch % width == 0;
    if constexpr (few) {
      if (!call.adds) {
        return with_rows<Plain<T>, T, 2>(call, by_channel, wide, body);
      }
    } else if (!call.adds) {
      return with_function<T>(call, [&]<class Applied>() {
        if (wide) {
          return by_channel ? body.template operator()<Applied, width, true, Plain<T>>()
                            : body.template operator()<Applied, width, false, Plain<T>>();
        }
        return by_channel ? body.template operator()<Applied, 1, true, Plain<T>>()
                          : body.template operator()<Applied, 1, false, Plain<T>>();
      });
    }
    const auto added = [&]<class In>() { return with_rows<In, T, few ? 2 : 4>(call, by_channel, wide, body); };
    if constexpr (sizeof(T) == 2) {
      if (call.sum_type == Type::f32) {
        return added.template operator()<Added<T, float>>();
      }
    }
    return added.template operator()<Added<T, T>>();
  });
}

template <class Tuning>
Tiling tiling_of(const Shape& shape, int width) {
  return Tiling(shape, width, {Tuning::threads, Tuning::blocks, Tuning::unroll, Tuning::most_rows, processors()});
}

// Calls body.operator()<Applied, width, by_channel, In>(tiling) for a backward.
template <class Body>
auto with_backward(const Backward& call, const Body& body) {
  return with_kernel(
      call,
      [&]<class Applied, int width, bool by_channel, class In>() {
        return body.template operator()<Applied, width, by_channel, In>(
            tiling_of<BackwardTuning<Applied, In>>(call.shape, width));
      },
      call.grad_output, call.input, call.grad_input, call.sum, call.grad_sum, call.grad_residual);
}

// Where the partial sums are in the scratch memory, and how many numbers that takes.
template <class Number>
struct Workspace {
  const Backward& call;
  Partials<Number> partials;
  int64_t group_rows, channels, inner;  // of the sums for each channel
  int64_t blocks;
  int64_t size = 0;

  Workspace(const Backward& call_, const Tiling& tiling, void* memory) : call(call_), blocks(tiling.blocks()) {
    const bool by_channel = is_by_channel(call.shape);
    group_rows = int64_t(tiling.row_tiles) * (by_channel ? tiling.column_tiles : 1);
    channels = call.shape.channels;
    inner = by_channel ? 1 : call.shape.inner;
    const auto part = [&](const Result& wanted, bool per_channel) -> Number* {
      const int64_t numbers = per_channel ? call.shape.groups * group_rows * channels * inner : blocks;
      size += wanted.data ? numbers : 0;
      return wanted.data ? static_cast<Number*>(memory) + (size - numbers) : nullptr;
    };
    partials = {part(call.grad_weight, true), part(call.grad_bias, true), part(call.grad_alpha, call.alpha_per_channel),
                part(call.grad_shift, call.alpha_per_channel), part(call.grad_gate, true)};
  }

  // The launch of the second kernel.
  const char* reduce(void* stream) const {
    const auto reduction = [&](const Number* partial, const Result& result, int64_t groups, int64_t rows,
                               int64_t channels, int64_t inner) {
      const int64_t count = groups * channels;
      // A block has a warp's width of sums, or more where they have few terms.
      const int64_t terms = std::clamp<int64_t>(rows * inner, 1, reduction_threads / 32);
      const int64_t side = std::min(count, reduction_threads / terms);
      return Reduction<Number>{
          partial, uint32_t(rows), uint32_t(channels), uint32_t(inner),
          count,   result,         uint32_t(side),     result.data ? uint32_t(ceil_div(count, side)) : 0};
    };
    const int64_t groups = call.shape.groups;
    const auto of_channels = [&](const Number* partial, const Result& result, int64_t of_groups) {
      return reduction(partial, result, of_groups, groups / of_groups * group_rows, channels, inner);
    };
    const auto of_scalar = [&](const Number* partial, const Result& result) {
      return call.alpha_per_channel ? of_channels(partial, result, 1) : reduction(partial, result, 1, blocks, 1, 1);
    };
    const Reductions<Number> reductions{
        {of_channels(partials.weight, call.grad_weight, groups), of_channels(partials.bias, call.grad_bias, groups),
         of_scalar(partials.alpha, call.grad_alpha), of_scalar(partials.shift, call.grad_shift),
         of_channels(partials.gate, call.grad_gate, groups)}};
    int64_t all = 0;
    for (const auto& each : reductions.each) {
      all += each.blocks;
    }
    return all ? launch(reduce_partials_kernel<Number>, all, reduction_threads, stream, reductions) : nullptr;
  }
};

}  // namespace

const char* launch_forward(const Forward& call, void* stream) {
  const auto with_output = [&]<template <class> class Out>() {
    return [&]<class Applied, int width, bool by_channel, class In>() {
      const auto tiling = tiling_of<ForwardTuning<Applied>>(call.shape, width);
      return launch(forward_kernel<Applied, width, by_channel, In, Out<typename Applied::T>>, tiling.blocks(),
                    tiling.threads(), stream, call, tiling, typename Applied::Options(call));
    };
  };
  if (!call.quantized.data) {
    return with_kernel(call, with_output.template operator()<Whole>(), call.input, call.output, call.residual,
                       call.sum);
  }
  return with_kernel<true>(call, with_output.template operator()<Eight>(), call.input, call.output, call.residual,
                           call.sum, call.quantized.data);
}

int64_t workspace_bytes(const Backward& call) {
  return with_backward(call, [&]<class Applied, int, bool, class>(const Tiling& tiling) -> int64_t {
    using Number = typename Applied::Number;
    return Workspace<Number>(call, tiling, nullptr).size * sizeof(Number);
  });
}

const char* launch_backward(const Backward& call, void* workspace, void* stream) {
  return with_backward(call, [&]<class Applied, int width, bool by_channel, class In>(const Tiling& tiling) {
    const Workspace<typename Applied::Number> partials(call, tiling, workspace);
    const char* error = launch(backward_kernel<Applied, width, by_channel, In>, tiling.blocks(), tiling.threads(),
                               stream, call, tiling, typename Applied::Options(call), partials.partials);
    return error ? error : partials.reduce(stream);
  });
}

}  // namespace derf::cuda
