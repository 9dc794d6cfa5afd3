// All gradients in one pass over input and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g f'(u);  grad_input = alpha weight h;  grad_alpha = sum weight h x;  grad_shift = sum weight h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all but the channel.
// Sums run in float over at most a few hundred terms, then in exact double sums: as exact as the terms, and the same on
// any number of threads. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include <memory>

#include "call.h"
#include "exact_sum.h"
#include "lanes.h"

namespace derf::CPU_CAPABILITY {

// What one channel's elements add to, a lane each: sums of g f(u), g, h x and h.
template <class T>
struct Sums {
  Lanes<T> value, grad, input_slope, slope;
  Sums() : value(broadcast<T>(0)), grad(value), input_slope(value), slope(value) {}
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

// count <= lanes<T> elements; grad_input may be null; slope_factor is alpha * weight.
template <class W, class T>
inline __attribute__((always_inline)) void backward_step(const T* grad_output, const T* input, T* grad_input,
                                                         const Lanes<T>& slope_factor, int64_t count,
                                                         const Shared<T>& shared, Sums<T>& sums) {
  using V = Vec<ScalarOf<T>>;
  const Lanes<T> x = load<T>(input, count), g = load<T>(grad_output, count);
  const auto add = [](V a, V b) { return a + b; };
  const auto add_product = [](V sum, V a, V b) { return at::vec::fmadd(a, b, sum); };
  auto u = each([&](V each_x) { return at::vec::fmadd(shared.alpha, each_x, shared.shift); }, x);
  if (count < lanes<T>) {  // lanes that are not there count as 0, whatever alpha and shift are
    u = keep_first<T>(u, count);
  }
  sums.grad = each(add, sums.grad, g);
  if constexpr (W::value) {
    sums.value = each(add_product, sums.value, g, W::F::value(u));
  }
  if constexpr (W::slope) {
    const auto [slope, dead] = W::F::slope(u);
    const auto zero_where_dead = [](auto mask, V y) { return zero_where(mask, y); };
    const auto h = each([](auto mask, V a, V b) { return zero_where(mask, a * b); }, dead, g, slope);
    sums.slope = each(add, sums.slope, h);
    sums.input_slope = each(add_product, sums.input_slope, h, each(zero_where_dead, dead, x));
    if (grad_input) {
      const auto result = each([](auto mask, V a, V b) { return zero_where(mask, a * b); }, dead, h, slope_factor);
      store<T>(grad_input, result, count, shared.bypass_cache);
    }
  }
}

// sum + weight * term, a term of 0 adding nothing, be the weight infinite.
template <class T>
inline Lanes<T> add_weighted(const Lanes<T>& sum, const Lanes<T>& weight, const Lanes<T>& term) {
  using V = Vec<ScalarOf<T>>;
  return each([](V s, V w, V t) { return s + zero_where(equal(t, V(0)), w * t); }, sum, weight, term);
}

// `rows` (at most 4) neighbouring rows of channels [begin, end), shape.in_rows(): a channel's sums stay in registers
// over the rows, and so many streams of memory run side by side. Adds to the channel's partial sums.
template <class W, int rows, class T, class P>
inline void backward_rows(const cpu::Backward& call, int64_t row, int64_t begin, int64_t end,
                          ScalarOf<T>* weight_partial, ScalarOf<T>* bias_partial, cpu::ExactSum& alpha,
                          cpu::ExactSum& shift) {
  const Shared<T> shared(call);
  const int64_t channels = call.shape.channels;
  const auto* grad_output = static_cast<const T*>(call.grad_output) + row * channels;
  const auto* input = static_cast<const T*>(call.input) + row * channels;
  auto* grad_input = call.grad_input ? static_cast<T*>(call.grad_input) + row * channels : nullptr;
  const auto* weight = static_cast<const P*>(call.weight);
  using V = Vec<ScalarOf<T>>;
  Lanes<T> alpha_sum = broadcast<T>(0), shift_sum = alpha_sum;
  const auto column = [&](int64_t c, int64_t count) __attribute__((always_inline)) {
    const Lanes<T> w = load<T>(weight + c, count);
    const auto slope_factor = each([&](V each_w) { return each_w * shared.alpha; }, w);
    Sums<T> sums;
#pragma GCC unroll 1  // side by side, the rows would not find registers enough
    for (int r = 0; r < rows; ++r) {
      const int64_t at = r * channels + c;
      // The next rows: so many streams side by side are more than the hardware foresees.
      for (int64_t line = 0; line < lanes<T>; line += 64 / int64_t(sizeof(T))) {
        __builtin_prefetch(grad_output + at + rows * channels + line);
        __builtin_prefetch(input + at + rows * channels + line);
      }
      backward_step<W>(grad_output + at, input + at, grad_input ? grad_input + at : nullptr, slope_factor, count,
                       shared, sums);
    }
    if constexpr (W::slope) {
      alpha_sum = add_weighted<T>(alpha_sum, w, sums.input_slope);
      shift_sum = add_weighted<T>(shift_sum, w, sums.slope);
    }
    for (size_t k = 0; k < w.size(); ++k) {
      const int64_t at = c + int64_t(k) * V::size(), n = part(c + count, at, V::size());
      if (weight_partial) {
        (V::loadu(weight_partial + at, n) + sums.value[k]).store(weight_partial + at, n);
      }
      if (bias_partial) {
        (V::loadu(bias_partial + at, n) + sums.grad[k]).store(bias_partial + at, n);
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
  alpha.add(sum<T>(alpha_sum));
  shift.add(sum<T>(shift_sum));
}

// `count` elements of one channel.
template <class W, class T, class P>
inline void backward_segment(const cpu::Backward& call, int64_t at, int64_t channel, int64_t count,
                             ScalarOf<T>* weight_partial, ScalarOf<T>* bias_partial, cpu::ExactSum& alpha,
                             cpu::ExactSum& shift) {
  const Shared<T> shared(call);
  const auto* weight = static_cast<const P*>(call.weight);
  const ScalarOf<T> w = weight ? ScalarOf<T>(weight[channel]) : 1;
  const Lanes<T> slope_factor = broadcast<T>(ScalarOf<T>(call.alpha) * w);
  const T* grad_output = static_cast<const T*>(call.grad_output) + at;
  const T* input = static_cast<const T*>(call.input) + at;
  T* grad_input = call.grad_input ? static_cast<T*>(call.grad_input) + at : nullptr;
  Sums<T> sums;
  int64_t i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) {
    backward_step<W>(grad_output + i, input + i, grad_input ? grad_input + i : nullptr, slope_factor, lanes<T>, shared,
                     sums);
  }
  if (i < count) {
    backward_step<W>(grad_output + i, input + i, grad_input ? grad_input + i : nullptr, slope_factor, count - i, shared,
                     sums);
  }
  if (weight_partial) {
    weight_partial[channel] += sum<T>(sums.value);
  }
  if (bias_partial) {
    bias_partial[channel] += sum<T>(sums.grad);
  }
  const Lanes<T> all_w = broadcast<T>(w), none = broadcast<T>(0);
  alpha.add(sum<T>(add_weighted<T>(none, all_w, sums.input_slope)));
  shift.add(sum<T>(add_weighted<T>(none, all_w, sums.slope)));
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
  cpu::ExactSum alpha, shift;
  if (shape.in_rows()) {
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
    call.alpha_partial[tile] = alpha.total();
  }
  if (call.shift_partial) {
    call.shift_partial[tile] = shift.total();
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
    cpu::ExactSum total[width];
    for (int64_t row = 0; row < call.rows; ++row) {
      const Scalar* from = partial + row * call.channels + first;
      for (int64_t c = 0; c < n; ++c) {
        total[c].add(from[c]);
      }
    }
    for (int64_t c = 0; c < n; ++c) {
      result[first + c] = static_cast<P>(total[c].total());
    }
  }
}

}  // namespace derf::CPU_CAPABILITY
