// From dtypes and functions to templates, and from calls to launches. No header of torch: nvcc would read it once per
// architecture.
#include <bit>

#include "../functions/erf.h"
#include "../functions/tanh.h"
#include "backward.cuh"
#include "forward.cuh"
#include "launch.h"
#include "reduce.cuh"

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

// Calls body.operator()<Applied>(): kernels of their own for erf and tanh, and one that serves all else.
template <class T, class Body>
auto with_function(const Call& call, const Body& body) {
  const bool is_general = call.alpha_per_channel || call.study.is_active();
  if (!is_general && call.function == Function::erf) {
    return body.template operator()<Fixed<Erf, T>>();
  } else if (!is_general && call.function == Function::tanh) {
    return body.template operator()<Fixed<Tanh, T>>();
  } else {
    return body.template operator()<General<T>>();
  }
}

// Calls body.operator()<Applied, width, In>() where a narrow kernel of erf's or tanh's own is not worth it. `most`: the
// width of any function's, as registers allow.
template <class In, class T, int most, class Body>
auto with_wide(const Call& call, bool wide, const Body& body) {
  if (!wide) {
    return body.template operator()<General<T>, 1, In>();
  }
  return with_function<T>(call, [&]<class Applied>() {
    constexpr int width = vector_width<T>, most_of_any = sizeof(T) == 8 ? 1 : most,
                  some = Applied::is_general && width > most_of_any ? most_of_any : width;
    return body.template operator()<Applied, some, In>();
  });
}

// Calls body.operator()<Applied, width, In>(), with the width of loads that all of these addresses and the shape allow.
// `few`: fewer kernels are enough.
template <bool few = false, class Body, class... Pointers>
auto with_kernel(const Call& call, const Body& body, const Pointers*... pointers) {
  return with_type(call.type, [&](auto t) {
    using T = decltype(t);
    constexpr int width = vector_width<T>;
    const bool wide = ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...) && Tiling::takes(call.shape, width);
    if constexpr (few) {
      if (!call.adds) {
        return with_wide<Plain<T>, T, 2>(call, wide, body);
      }
    } else if (!call.adds) {
      return with_function<T>(call, [&]<class Applied>() {
        return wide ? body.template operator()<Applied, width, Plain<T>>()
                    : body.template operator()<Applied, 1, Plain<T>>();
      });
    }
    const auto added = [&]<class In>() { return with_wide<In, T, few ? 2 : 4>(call, wide, body); };
    if constexpr (sizeof(T) == 2) {
      if (call.sum_type == Type::f32) {
        return added.template operator()<ResidualInput<T, float>>();
      }
    }
    return added.template operator()<ResidualInput<T, T>>();
  });
}

template <class T, class Tuning>
Tiling tiling_of(const Shape& shape, int width) {
  return Tiling(shape, width, 128 / (width * sizeof(T)), processors(),
                {Tuning::threads, Tuning::blocks, Tuning::unroll, Tuning::wave_rows, Tuning::most_rows,
                 Tuning::least_rows, Tuning::one_block});
}

// Calls body.operator()<Applied, width, In>(tiling) for a backward.
template <class Body>
auto with_backward(const Backward& call, const Body& body) {
  return with_kernel(
      call,
      [&]<class Applied, int width, class In>() {
        using Tuning = BackwardTuning<Applied, In>;
        return body.template operator()<Applied, width, In>(tiling_of<typename Applied::T, Tuning>(call.shape, width));
      },
      call.grad_output, call.input, call.grad_input, call.sum, call.grad_sum, call.grad_residual);
}

// Where the partial sums are in the scratch memory, and how many numbers that takes.
template <class Number>
class Workspace {
  const Backward& call_;
  const Tiling& tiling_;
  int64_t tile_;       // elements of a tile's row
  bool has_channels_;  // a block has all of its channels' terms in a group, and of alpha's and shift's
  bool has_scalars_;

  Reduction<Number> reduction(const Number* partial, const Result& result, int64_t groups, bool per_channel,
                              int processors) const {
    Reduction<Number> to{partial, result};
    if (!partial) {
      return to;
    }
    to.merged_rows = per_channel ? tiling_.merged_rows : 1;
    to.channels = per_channel ? tiling_.channels : 1;
    to.inner = per_channel ? tiling_.inner : 1;
    to.tile = per_channel ? tile_ : 1;
    to.column_tiles = per_channel ? tiling_.column_tiles : 1;
    to.slots = per_channel ? tiling_.slots : 1;
    to.rows = uint32_t(per_channel ? tiling_.groups / groups * tiling_.row_tiles : tiling_.blocks());
    to.count = groups * int64_t(to.channels);
    to.divides = to.inner == 1 && std::max(to.count, int64_t(to.merged_rows) * to.channels) <= Tiling::most_divisible;
    to.by_channels = Divider(to.channels);
    to.by_tile = Divider(uint32_t(to.tile));
    // Few sums of many terms take many threads each, and many sums few.
    const auto side = std::bit_floor(uint64_t(std::clamp<int64_t>(to.count / processors, 16, 128)));
    const int64_t threads = reduction_threads / std::min<int64_t>(side, to.count);
    const int64_t terms = std::clamp<int64_t>(to.rows * ceil_div(to.inner, to.tile), 1, threads);
    to.sums_per_block = uint32_t(std::min(to.count, reduction_threads / terms));
    to.blocks = uint32_t(ceil_div(to.count, to.sums_per_block));
    return to;
  }

 public:
  Partials<Number> partials;
  int64_t size = 0;

  Workspace(const Backward& call, const Tiling& tiling, int width, void* memory)
      : call_(call),
        tiling_(tiling),
        tile_(int64_t(tiling.column_threads) * width),
        has_channels_(tiling.row_tiles == 1 && tiling.merged_rows == 1 &&
                      (tiling.inner == 1 || tiling.column_tiles == 1)),
        has_scalars_(call.alpha_per_channel ? has_channels_ && tiling.groups == 1 : tiling.blocks() == 1) {
    const auto part = [&](const Result& wanted, bool per_channel, bool has_all) -> Number* {
      const int64_t numbers = wanted.data && !has_all ? tiling.blocks() * (per_channel ? tiling.slots : 1) : 0;
      size += numbers;
      return numbers ? static_cast<Number*>(memory) + (size - numbers) : nullptr;
    };
    partials = {part(call.grad_weight, true, has_channels_), part(call.grad_bias, true, has_channels_),
                part(call.grad_alpha, call.alpha_per_channel, has_scalars_),
                part(call.grad_shift, call.alpha_per_channel, has_scalars_), part(call.grad_gate, true, has_channels_)};
  }

  // The launch of the second kernel, where a block does not have all. (The last block of the first could do its work,
  // if a counter told it: but that would have to be set to zero before, by a launch as well.)
  const char* reduce(void* stream) const {
    const int64_t groups = tiling_.groups;
    const int count = processors();
    const Reductions<Number> reductions{{reduction(partials.weight, call_.grad_weight, groups, true, count),
                                         reduction(partials.bias, call_.grad_bias, groups, true, count),
                                         reduction(partials.alpha, call_.grad_alpha, 1, call_.alpha_per_channel, count),
                                         reduction(partials.shift, call_.grad_shift, 1, call_.alpha_per_channel, count),
                                         reduction(partials.gate, call_.grad_gate, groups, true, count)}};
    int64_t all = 0;
    for (const auto& each : reductions.each) {
      all += each.blocks;
    }
    return all ? launch_early(reduce_partials_kernel<Number>, all, reduction_threads, stream, reductions) : nullptr;
  }
};

const char* launch_forward(const Forward& call, void* stream) {
  const auto with_output = [&]<template <class> class Out>() {
    return [&]<class Applied, int width, class In>() {
      using T = typename Applied::T;
      const auto tiling = tiling_of<T, ForwardTuning<Applied, In, Out<T>>>(call.shape, width);
      return launch(forward_kernel<Applied, width, In, Out<T>>, tiling.blocks(), tiling.threads(), stream, call, tiling,
                    typename Applied::Options(call));
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
  return with_backward(call, [&]<class Applied, int width, class>(const Tiling& tiling) -> int64_t {
    using Number = typename Applied::Number;
    return Workspace<Number>(call, tiling, width, nullptr).size * sizeof(Number);
  });
}

const char* launch_backward(const Backward& call, void* memory, void* stream) {
  return with_backward(call, [&]<class Applied, int width, class In>(const Tiling& tiling) {
    const Workspace<typename Applied::Number> workspace(call, tiling, width, memory);
    // A single block has all of its threads write sums.
    const uint32_t threads = tiling.blocks() == 1 ? BackwardTuning<Applied, In>::threads : tiling.threads();
    const char* error = launch(backward_kernel<Applied, width, In>, tiling.blocks(), threads, stream, call, tiling,
                               typename Applied::Options(call), workspace.partials);
    return error ? error : workspace.reduce(stream);
  });
}

}  // namespace

const Kernels kernels = {&workspace_bytes, &launch_forward, &launch_backward};

}  // namespace derf::cuda
