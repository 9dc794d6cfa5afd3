// All gradients in one pass over input and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g weight f'(u);  grad_input = alpha h;  grad_alpha = sum h x;  grad_shift = sum h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all but the channel.
// Sums run in float over at most a few hundred terms, then in double: as exact as the terms, and the same on any
// number of threads. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include <memory>

#include "call.h"
#include "lanes.h"

namespace derf::CPU_CAPABILITY {

// The sums that a stretch of elements adds to, a lane each.
template <class T>
struct Sums {
  Lanes<T> weight, bias, alpha, shift;
  Sums() : weight(broadcast<T>(0)), bias(weight), alpha(weight), shift(weight) {}
};

// What all elements share, out of reach of the stores: a local copy stays in registers.
template <class T>
struct Shared {
  Vec<ScalarOf<T>> alpha, shift;
  bool bypass_cache;
  explicit Shared(const cpu::Backward& call)
      : alpha(ScalarOf<T>(call.alpha)), shift(ScalarOf<T>(call.shift)), bypass_cache(call.bypass_cache) {}
};

// What is wanted, known at compile time: a branch between the two costs more than the arithmetic it saves.
template <class Function, bool want_value, bool want_slope>
struct Wanted {
  using F = Function;
  static constexpr bool value = want_value, slope = want_slope;
};

// count <= lanes<T> elements; grad_input may be null.
template <class W, class T>
inline __attribute__((always_inline)) void backward_step(const T* grad_output, const T* input, T* grad_input,
                                                         const Lanes<T>& weight, int64_t count,
                                                         const Shared<T>& shared, Sums<T>& sums) {
  using V = Vec<ScalarOf<T>>;
  const Lanes<T> x = load<T>(input, count), g = load<T>(grad_output, count);
  Lanes<T> u, h;
  for (size_t k = 0; k < x.size(); ++k) {
    u[k] = at::vec::fmadd(shared.alpha, x[k], shared.shift);
    sums.bias[k] = sums.bias[k] + g[k];
  }
  if (count < lanes<T>) {  // lanes that are not there count as 0, whatever alpha and shift are
    u = keep_first<T>(u, count);
  }
  if constexpr (W::value) {
    for (size_t k = 0; k < x.size(); ++k) {
      sums.weight[k] = at::vec::fmadd(g[k], W::F::value(u[k]), sums.weight[k]);
    }
  }
  if constexpr (W::slope) {
    Lanes<T> alive_x;
    for (size_t k = 0; k < x.size(); ++k) {
      const V slope = W::F::slope(u[k]);
      const auto dead = equal(slope, V(0));
      h[k] = zero_where(dead, g[k]) * (weight[k] * slope);
      alive_x[k] = zero_where(dead, x[k]);
    }
    if (count < lanes<T>) {
      h = keep_first<T>(h, count);
    }
    for (size_t k = 0; k < x.size(); ++k) {
      sums.shift[k] = sums.shift[k] + h[k];
      sums.alpha[k] = at::vec::fmadd(h[k], alive_x[k], sums.alpha[k]);
      h[k] = h[k] * shared.alpha;
    }
    if (grad_input) {
      store<T>(grad_input, h, count, shared.bypass_cache);
    }
  }
}

// `rows` (at most 4) neighbouring rows of channels [begin, end), inner == 1: a channel's sums stay in registers over
// the rows, and so many streams of memory run side by side. Adds to the channel's partial sums.
template <class W, int rows, class T, class P>
inline void backward_rows(const cpu::Backward& call, int64_t row, int64_t begin, int64_t end,
                          ScalarOf<T>* weight_partial, ScalarOf<T>* bias_partial, double& alpha, double& shift) {
  const Shared<T> shared(call);
  const int64_t channels = call.shape.channels;
  const auto* grad_output = static_cast<const T*>(call.grad_output) + row * channels;
  const auto* input = static_cast<const T*>(call.input) + row * channels;
  auto* grad_input = call.grad_input ? static_cast<T*>(call.grad_input) + row * channels : nullptr;
  const auto* weight = static_cast<const P*>(call.weight);
  Sums<T> sums;
  Lanes<T> w = broadcast<T>(1);
  const auto column = [&](int64_t c, int64_t count) __attribute__((always_inline)) {
    if (weight) {
      w = load<T>(weight + c, count);
    }
    sums.weight = sums.bias = broadcast<T>(0);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const int64_t at = r * channels + c;
      backward_step<W>(grad_output + at, input + at, grad_input ? grad_input + at : nullptr, w, count, shared, sums);
    }
    using V = Vec<ScalarOf<T>>;
    for (size_t k = 0; k < w.size(); ++k) {
      const int64_t n = std::clamp<int64_t>(count - int64_t(k) * V::size(), 0, V::size());
      const int64_t at = c + int64_t(k) * V::size();
      if (weight_partial) {
        (V::loadu(weight_partial + at, n) + sums.weight[k]).store(weight_partial + at, n);
      }
      if (bias_partial) {
        (V::loadu(bias_partial + at, n) + sums.bias[k]).store(bias_partial + at, n);
      }
    }
  };
  int64_t c = begin;
  for (; c + lanes<T> <= end; c += lanes<T>) {
    column(c, lanes<T>);
  }
  if (c < end) {
    column(c, end - c);
  }
  alpha += sum<T>(sums.alpha);
  shift += sum<T>(sums.shift);
}

// `count` elements of one channel, inner > 1.
template <class W, class T, class P>
inline void backward_segment(const cpu::Backward& call, int64_t at, int64_t channel, int64_t count,
                             ScalarOf<T>* weight_partial, ScalarOf<T>* bias_partial, double& alpha, double& shift) {
  const Shared<T> shared(call);
  const auto* weight = static_cast<const P*>(call.weight);
  const Lanes<T> w = broadcast<T>(weight ? ScalarOf<T>(weight[channel]) : 1);
  const T* grad_output = static_cast<const T*>(call.grad_output) + at;
  const T* input = static_cast<const T*>(call.input) + at;
  T* grad_input = call.grad_input ? static_cast<T*>(call.grad_input) + at : nullptr;
  Sums<T> sums;
  int64_t i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) {
    backward_step<W>(grad_output + i, input + i, grad_input ? grad_input + i : nullptr, w, lanes<T>, shared, sums);
  }
  if (i < count) {
    backward_step<W>(grad_output + i, input + i, grad_input ? grad_input + i : nullptr, w, count - i, shared, sums);
  }
  if (weight_partial) {
    weight_partial[channel] += sum<T>(sums.weight);
  }
  if (bias_partial) {
    bias_partial[channel] += sum<T>(sums.bias);
  }
  alpha += sum<T>(sums.alpha);
  shift += sum<T>(sums.shift);
}

template <class W, class T, class P>
inline void backward_tile(const cpu::Backward& call, int64_t tile) {
  const auto& [size, count] = call.tiles;
  const auto& shape = call.shape;
  const int64_t channel_tile = tile % count.channels, partial_row = tile / count.channels;
  const int64_t inner_begin = partial_row % count.inner * size.inner;
  const int64_t outer_begin = partial_row / count.inner * size.outer;
  const int64_t channel_begin = channel_tile * size.channels;
  const int64_t inner_end = std::min(inner_begin + size.inner, shape.inner);
  const int64_t outer_end = std::min(outer_begin + size.outer, shape.outer);
  const int64_t channel_end = std::min(channel_begin + size.channels, shape.channels);
  const auto partial = [&](void* base) {
    auto* row = base ? static_cast<ScalarOf<T>*>(base) + partial_row * shape.channels : nullptr;
    if (row) {
      std::fill(row + channel_begin, row + channel_end, 0);
    }
    return row;
  };
  auto *weight_partial = partial(call.weight_partial), *bias_partial = partial(call.bias_partial);
  double alpha = 0, shift = 0;
  if (shape.inner == 1) {
    int64_t row = outer_begin;
    for (; row + 4 <= outer_end; row += 4) {
      backward_rows<W, 4, T, P>(call, row, channel_begin, channel_end, weight_partial, bias_partial, alpha, shift);
    }
    for (; row < outer_end; ++row) {
      backward_rows<W, 1, T, P>(call, row, channel_begin, channel_end, weight_partial, bias_partial, alpha, shift);
    }
  } else {
    for (int64_t row = outer_begin; row < outer_end; ++row) {
      for (int64_t c = channel_begin; c < channel_end; ++c) {
        const int64_t at = (row * shape.channels + c) * shape.inner + inner_begin;
        backward_segment<W, T, P>(call, at, c, inner_end - inner_begin, weight_partial, bias_partial, alpha, shift);
      }
    }
  }
  if (call.alpha_partial) {
    call.alpha_partial[tile] = alpha;
  }
  if (call.shift_partial) {
    call.shift_partial[tile] = shift;
  }
}

template <template <class> class F, class T, class P>
void backward(const cpu::Backward& call, int64_t begin, int64_t end) {
  const auto run = [&](auto tile_kernel) {
    for (int64_t tile = begin; tile < end; ++tile) {
      tile_kernel(call, tile);
    }
  };
  const bool value = call.weight_partial, slope = call.grad_input || call.alpha_partial || call.shift_partial;
  if (value && slope) {
    run(&backward_tile<Wanted<F<T>, true, true>, T, P>);
  } else if (slope) {
    run(&backward_tile<Wanted<F<T>, false, true>, T, P>);
  } else if (value) {
    run(&backward_tile<Wanted<F<T>, true, false>, T, P>);
  } else {
    run(&backward_tile<Wanted<F<T>, false, false>, T, P>);
  }
  drain(call.bypass_cache);
}

template <class Scalar, class P>
void reduce(const cpu::Reduce& call, int64_t begin, int64_t end) {
  constexpr int64_t width = 256;  // channels at a time, so that their sums stay in the nearest cache
  const auto* partial = static_cast<const Scalar*>(call.partial);
  auto* result = static_cast<P*>(call.result);
  for (int64_t first = begin; first < end; first += width) {
    const int64_t n = std::min(width, end - first);
    double total[width] = {};
    for (int64_t row = 0; row < call.rows; ++row) {
      const Scalar* from = partial + row * call.channels + first;
      for (int64_t c = 0; c < n; ++c) {
        total[c] += from[c];
      }
    }
    for (int64_t c = 0; c < n; ++c) {
      result[first + c] = static_cast<P>(total[c]);
    }
  }
}

}  // namespace derf::CPU_CAPABILITY
