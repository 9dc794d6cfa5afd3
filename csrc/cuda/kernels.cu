// From dtypes to templates, and from calls to launches. No header of torch: nvcc would read it once per architecture.
#include "../functions/erf.h"
#include "backward.cuh"
#include "forward.cuh"

namespace derf::cuda {
namespace {

// Calls body(T{}, P{}) with the types of input and parameters; problem.cpp has refused all other pairs.
template <class Body>
auto with_types(Type type, Type param_type, const Body& body) {
  const bool wide = param_type == Type::f32;
  switch (type) {
    case Type::f64: return body(double{}, double{});
    case Type::f32: return body(float{}, float{});
    case Type::f16: return wide ? body(Half{}, float{}) : body(Half{}, Half{});
    default: return wide ? body(BFloat16{}, float{}) : body(BFloat16{}, BFloat16{});
  }
}

// Calls body with the width of loads, as a constant, that all of these addresses and the shape allow.
template <class T, class Body, class... Pointers>
auto with_width(const Shape& shape, const Body& body, const Pointers*... pointers) {
  constexpr int width = vector_width<T>;
  const int64_t stretch = shape.by_channel() ? shape.inner : shape.channels * shape.inner;
  const bool aligned = ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
  return aligned && stretch % width == 0 ? body(std::integral_constant<int, width>())
                                         : body(std::integral_constant<int, 1>());
}

template <class Tuning>
Tiles tiles_of(const Shape& shape, int width) {
  return Tiles(shape, width, {Tuning::threads, Tuning::blocks, Tuning::unroll, Tuning::most_rows, processors()});
}

// Calls body(width, tiles) with the tiles of a backward.
template <class T, class Body>
auto with_tiles(const Backward& call, const Body& body) {
  const auto of_width = [&](auto width) { return body(width, tiles_of<BackwardTuning<T>>(call.shape, width)); };
  return with_width<T>(call.shape, of_width, call.grad_output, call.input, call.grad_input);
}

// Where the partial sums are in the scratch memory, and how many numbers that takes.
template <class Number>
struct Scratch {
  Partials<Number> partials;
  int64_t rows, columns;  // of the sums of weight and bias
  int64_t size = 0;

  Scratch(const Backward& call, const Tiles& tiles)
      : rows(int64_t(tiles.row_tiles) * (call.shape.by_channel() ? tiles.column_tiles : 1)),
        columns(call.shape.by_channel() ? tiles.matrices : tiles.row_stride) {
    const auto part = [&](const void* wanted, int64_t numbers) -> Number* {
      size += wanted ? numbers : 0;
      return wanted ? static_cast<Number*>(call.workspace) + (size - numbers) : nullptr;
    };
    partials = {part(call.grad_weight, rows * columns), part(call.grad_bias, rows * columns),
                part(call.grad_alpha, tiles.blocks()), part(call.grad_shift, tiles.blocks())};
  }

  // The launch of the second kernel.
  const char* add_up(const Backward& call, const Tiles& tiles, void* stream) const {
    const int64_t channels = call.shape.channels;
    const auto of_channels = [&](const Number* partial, void* result) {
      const auto lanes = uint32_t(std::min<int64_t>(channels, 32));
      return Total<Number>{partial,
                           uint32_t(rows),
                           uint32_t(columns / channels),
                           channels,
                           result,
                           call.param_type,
                           lanes,
                           result ? uint32_t(Tiles::blocks_of(channels, lanes)) : 0};
    };
    const auto of_all = [&](const Number* partial, void* result) {
      return Total<Number>{partial, tiles.blocks(), 1, 1, result, call.alpha.type, 1, result != nullptr};
    };
    const Totals<Number> totals{{of_channels(partials.weight, call.grad_weight),
                                 of_channels(partials.bias, call.grad_bias), of_all(partials.alpha, call.grad_alpha),
                                 of_all(partials.shift, call.grad_shift)}};
    uint32_t blocks = 0;
    for (const auto& total : totals.each) {
      blocks += total.blocks;
    }
    return blocks ? launch(total_kernel<Number>, blocks, total_threads, stream, totals) : nullptr;
  }
};

}  // namespace

const char* launch_forward(const Forward& call, void* stream) {
  return with_types(call.type, call.param_type, [&](auto t, auto p) {
    using T = decltype(t);
    using P = decltype(p);
    return with_width<T>(
        call.shape,
        [&](auto width) {
          const Tiles tiles = tiles_of<ForwardTuning>(call.shape, width);
          const auto kernel = call.shape.by_channel() ? forward_kernel<Erf, T, P, width, true>
                                                      : forward_kernel<Erf, T, P, width, false>;
          return launch(kernel, tiles.blocks(), tiles.threads(), stream, call, tiles);
        },
        call.input, call.output);
  });
}

int64_t workspace_bytes(const Backward& call) {
  return with_types(call.type, call.param_type, [&](auto t, auto) {
    using T = decltype(t);
    return with_tiles<T>(call, [&](auto, const Tiles& tiles) -> int64_t {
      return Scratch<NumberOf<T>>(call, tiles).size * sizeof(NumberOf<T>);
    });
  });
}

const char* launch_backward(const Backward& call, void* stream) {
  return with_types(call.type, call.param_type, [&](auto t, auto p) {
    using T = decltype(t);
    using P = decltype(p);
    return with_tiles<T>(call, [&](auto width, const Tiles& tiles) {
      const Scratch<NumberOf<T>> scratch(call, tiles);
      const auto kernel =
          call.shape.by_channel() ? backward_kernel<Erf, T, P, width, true> : backward_kernel<Erf, T, P, width, false>;
      const char* error = launch(kernel, tiles.blocks(), tiles.threads(), stream, call, tiles, scratch.partials);
      return error ? error : scratch.add_up(call, tiles, stream);
    });
  });
}

}  // namespace derf::cuda
