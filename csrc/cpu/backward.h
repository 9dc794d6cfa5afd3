// All gradients in one pass over input and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g weight f'(u);  grad_input = alpha h;  grad_alpha = sum h x;  grad_shift = sum h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all but the channel.
// Sums run in float over a few rows or terms, then in exact double sums: as exact as the terms, and the same on any
// number of threads. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include <array>
#include <utility>

#include "call.h"
#include "exact_sum.h"
#include "lanes.h"

namespace derf::CPU_CAPABILITY {

// What is wanted, known at compile time: a branch between the two costs more than the arithmetic it saves.
template <class Function, bool of_channels, bool of_slope>
struct Wanted {
  using F = Function;
  static constexpr bool channels = of_channels;  // gradients of weight and bias
  static constexpr bool slope = of_slope;        // gradients of input, alpha and shift
};

// Over a channel's elements, a lane each: the sums of g f(u) and g.
template <class T>
struct ChannelSums {
  Lanes<T> value, grad;
};

// Over all elements: the sums of h x and h. The error of a float sum grows with its terms: so sums of a few of them
// are summed up in float a few at a time, and these exactly.
template <class T>
class ScalarSums {
  using V = Vec<ScalarOf<T>>;
  V alpha{0}, shift{0};
  int terms = 0;
  ExactSums<V::size()> all_alpha, all_shift;

  __attribute__((noinline)) void add_exactly() {
    ScalarOf<T> x[V::size()], y[V::size()];
    alpha.store(x);
    shift.store(y);
    all_alpha.add(x);
    all_shift.add(y);
    alpha = shift = V(0);
    terms = 0;
  }

 public:
  void add(V more_alpha, V more_shift) {
    alpha = alpha + more_alpha;
    shift = shift + more_shift;
    if (++terms == 16) {
      add_exactly();
    }
  }

  std::pair<double, double> totals() {
    add_exactly();
    return {all_alpha.total(), all_shift.total()};
  }
};

// What all elements share, out of reach of the stores: a local copy stays in registers.
template <class W, class T>
struct Shared {
  Vec<ScalarOf<T>> alpha, scaled_alpha, scaled_shift;  // the latter in the unit of f
  bool asks_ahead, bypass_cache;
  explicit Shared(const cpu::Backward& call)
      : alpha(shared_parameter<T>(call.alpha)),
        scaled_alpha(shared_parameter<T>(call.alpha, W::F::gradient_unit)),
        scaled_shift(shared_parameter<T>(call.shift, W::F::gradient_unit)),
        asks_ahead(call.prefetch),
        bypass_cache(bypasses_cache<T>(call.out_of_cache, call.shape)) {}
};

// count <= lanes<T> elements of each of `rows` rows, `stride` apart; grad_input may be null. P is the type of the
// parameters.
template <class W, class P, int rows, class T>
inline __attribute__((always_inline)) void backward_step(const T* grad_output, const T* input, T* grad_input,
                                                         int64_t stride, const Lanes<T>& weight, int64_t count,
                                                         const Shared<W, T>& shared, ChannelSums<T>& channel,
                                                         Vec<ScalarOf<T>>& alpha, Vec<ScalarOf<T>>& shift) {
  using V = Vec<ScalarOf<T>>;
  Block<T, rows> all_x, u;
  for (int r = 0; r < rows; ++r) {
    const Lanes<T> x = load<T>(input + r * stride, count);
    set_row(all_x, r, x);
    set_row(u, r, each([&](V each_x) { return fmadd(shared.scaled_alpha, each_x, shared.scaled_shift); }, x));
    if (count < lanes<T>) {  // lanes that are not there count as 0, whatever alpha and shift are
      set_row(u, r, keep_first<T>(row(u, r), count));
    }
  }
  const auto gradient = W::F::template gradient<W::channels>(u);
  for (int r = 0; r < rows; ++r) {
    const Lanes<T> x = row(all_x, r), g = load<T>(grad_output + r * stride, count);
    if constexpr (W::channels) {
      channel.grad = each([](V a, V b) { return a + b; }, channel.grad, g);
      channel.value = each([](V sum, V a, V b) { return fmadd(a, b, sum); }, channel.value, g, row(gradient.value, r));
    }
    if constexpr (W::slope) {
      const auto alive = row(gradient.alive, r);
      const auto h = each([](auto mask, V a, V b, V c) { return keep(mask, a * b * c); }, alive, g, weight,
                          row(gradient.slope, r));
      for (size_t k = 0; k < h.size(); ++k) {
        shift = shift + h[k];
        alpha = fmadd(h[k], keep(alive[k], x[k]), alpha);
      }
      if (grad_input) {
        const auto result = each([&](auto mask, V a) { return keep(mask, a * shared.alpha); }, alive, h);
        store<std::is_same_v<P, float>>(grad_input + r * stride, result, count, shared.bypass_cache);
      }
    }
  }
}

// `rows` neighbouring rows of channels [begin, end), shape.in_rows(). Adds to the channel's partial sums.
template <class W, int rows, class T, class P>
inline void backward_rows(const cpu::Backward& call, int64_t row, int64_t begin, int64_t end,
                          ScalarOf<T>* weight_partial, ScalarOf<T>* bias_partial, ScalarSums<T>& sums) {
  const Shared<W, T> shared(call);
  const int64_t channels = call.shape.channels;
  const auto* grad_output = static_cast<const T*>(call.grad_output) + row * channels;
  const auto* input = static_cast<const T*>(call.input) + row * channels;
  auto* grad_input = call.grad_input ? static_cast<T*>(call.grad_input) + row * channels : nullptr;
  const auto* weight = static_cast<const P*>(call.weight);
  using V = Vec<ScalarOf<T>>;
  constexpr int side = std::min(rows, rows_at_once);
  const auto column = [&](int64_t c, int64_t count) __attribute__((always_inline)) {
    const Lanes<T> w = load<T>(weight + c, count);
    ChannelSums<T> channel{broadcast<T>(0), broadcast<T>(0)};
    V alpha(0), shift(0);
    if (shared.asks_ahead) {  // the next rows
      for (int r = rows; r < 2 * rows; ++r) {
        prefetch(grad_output + r * channels + c);
        prefetch(input + r * channels + c);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r += side) {
      const int64_t at = r * channels + c;
      backward_step<W, P, side>(grad_output + at, input + at, grad_input ? grad_input + at : nullptr, channels, w,
                                count, shared, channel, alpha, shift);
    }
    sums.add(alpha, shift);
    if constexpr (W::channels) {
      const auto add_to = [&](ScalarOf<T>* partial, const Lanes<T>& sum) {
        const auto add = [](V a, V b) { return a + b; };
        store_plain<T>(partial, each(add, load<T>(partial, count), sum), count);
      };
      add_to(weight_partial + c, channel.value);
      add_to(bias_partial + c, channel.grad);
    }
  };
  int64_t c = begin;
  for (; c + lanes<T> <= end; c += lanes<T>) {
    column(c, lanes<T>);
  }
  if (c < end) {
    column(c, end - c);
  }
}

// `count` elements of one channel.
template <class W, class T, class P>
inline void backward_segment(const cpu::Backward& call, int64_t at, int64_t channel, int64_t count,
                             ScalarOf<T>* weight_partial, ScalarOf<T>* bias_partial, ScalarSums<T>& sums) {
  const Shared<W, T> shared(call);
  const auto* all_weights = static_cast<const P*>(call.weight);
  const Lanes<T> weight = broadcast<T>(all_weights ? ScalarOf<T>(all_weights[channel]) : 1);
  const T* grad_output = static_cast<const T*>(call.grad_output) + at;
  const T* input = static_cast<const T*>(call.input) + at;
  T* grad_input = call.grad_input ? static_cast<T*>(call.grad_input) + at : nullptr;
  ChannelSums<T> of_channel{broadcast<T>(0), broadcast<T>(0)};
  for (int64_t i = 0; i < count;) {
    Vec<ScalarOf<T>> alpha(0), shift(0);
    const auto step = [&](int64_t n) __attribute__((always_inline)) {
      backward_step<W, P, 1>(grad_output + i, input + i, grad_input ? grad_input + i : nullptr, 0, weight, n, shared,
                             of_channel, alpha, shift);
      i += n;
    };
    for (int steps = 0; steps < 4 && i + lanes<T> <= count; ++steps) {
      step(lanes<T>);
    }
    if (i < count && i + lanes<T> > count) {
      step(count - i);
    }
    sums.add(alpha, shift);
  }
  if constexpr (W::channels) {
    weight_partial[channel] += sum<T>(of_channel.value);
    bias_partial[channel] += sum<T>(of_channel.grad);
  }
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
  ScalarSums<T> sums;
  if (shape.in_rows()) {
    int64_t row = outer_begin;
    for (; row + 4 <= outer_end; row += 4) {
      backward_rows<W, 4, T, P>(call, row, channel_begin, channel_end, weight_partial, bias_partial, sums);
    }
    for (; row < outer_end; ++row) {
      backward_rows<W, 1, T, P>(call, row, channel_begin, channel_end, weight_partial, bias_partial, sums);
    }
  } else {
    for (int64_t row = outer_begin; row < outer_end; ++row) {
      for (int64_t c = channel_begin; c < channel_end; ++c) {
        const int64_t at = (row * shape.channels + c) * shape.inner + inner_begin;
        backward_segment<W, T, P>(call, at, c, inner_end - inner_begin, weight_partial, bias_partial, sums);
      }
    }
  }
  const auto [alpha, shift] = sums.totals();
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
  const bool channels = call.weight_partial, slope = call.grad_input || call.alpha_partial || call.shift_partial;
  if (channels && slope) {
    run(&backward_tile<Wanted<F<T>, true, true>, T, P>);
  } else if (slope) {
    run(&backward_tile<Wanted<F<T>, false, true>, T, P>);
  } else if (channels) {
    run(&backward_tile<Wanted<F<T>, true, false>, T, P>);
  } else {
    run(&backward_tile<Wanted<F<T>, false, false>, T, P>);
  }
  drain(call.out_of_cache);
}

template <class Scalar, class P>
void reduce(const cpu::Reduce& call, int64_t begin, int64_t end) {
  constexpr int64_t width = 256;  // channels at a time, so that their sums stay in the nearest cache
  const auto* partial = static_cast<const Scalar*>(call.partial);
  auto* result = static_cast<P*>(call.result);
  for (int64_t first = begin; first < end; first += width) {
    const int64_t n = std::min(width, end - first);
    ExactSums<width> total;
    for (int64_t row = 0; row < call.rows; ++row) {
      total.add(partial + row * call.channels + first, n);
    }
    for (int64_t c = 0; c < n; ++c) {
      result[first + c] = static_cast<P>(total.total_of(c));
    }
  }
}

}  // namespace derf::CPU_CAPABILITY
