// All gradients in one pass over x (input, or a sum) and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g weight f'(u);  the gradient of x is alpha h;  grad_alpha = sum h x;  grad_shift = sum h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all that share the parameter.
// Sums run in float over a few rows or terms, then in compensated double sums: as exact as the terms, and the same on
// any number of threads. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include <array>
#include <utility>

#include "compensated_sum.h"
#include "forward.h"

namespace derf::CPU_CAPABILITY {

// channels: whether gradients of weight and bias are wanted. Known at compile time: a branch between the loops' two
// kinds costs more than the arithmetic it saves.
template <class AppliedFunction, class Input, bool of_channels>
struct Wanted {
  using Applied = AppliedFunction;
  using In = Input;
  using T = typename Applied::T;
  static constexpr bool channels = of_channels;
};

// Over a channel's elements, a lane each: the sums of g f(u), g, h x and h. (The latter two where they are wanted for
// each channel.)
template <class T>
struct ChannelSums {
  Chunk<T> value = broadcast<T>(0), grad = broadcast<T>(0), alpha = broadcast<T>(0), shift = broadcast<T>(0);
};

// Where a tile adds these up: arrays that begin at its first channel; null: not wanted.
template <class Scalar>
struct ChannelRows {
  Scalar *weight = nullptr, *bias = nullptr, *alpha = nullptr, *shift = nullptr, *gate = nullptr;
};

// Over all elements: the sums of h x and h. The error of a float sum grows with its terms: so sums of a few of them
// are summed up in float a few at a time, and these in compensated sums.
template <class T>
class ScalarSums {
  using V = Vec<opmath_t<T>>;
  V alpha{0}, shift{0};
  int terms = 0;
  CompensatedSums<V::size()> all_alpha, all_shift;

  __attribute__((noinline)) void flush() {
    opmath_t<T> x[V::size()], y[V::size()];
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
      flush();
    }
  }

  std::pair<double, double> totals() {
    flush();
    return {all_alpha.total(), all_shift.total()};
  }
};

// count <= chunk_size<T> elements from `at` on of each of `rows` rows, `stride` apart, of channels from c on. P is the
// type of weight. Row `first_row` of what is prepared is theirs, `in_stretch` elements into the stretch.
template <class W, class P, int rows, class T, class Stretch, class Gradient = typename W::In::Gradient>
inline __attribute__((always_inline)) void backward_step(const T* grad_output, const Gradient& of, int64_t at,
                                                         int64_t stride, const Chunk<T>& weight,
                                                         const typename Gradient::Gate& gate, int64_t c, int64_t count,
                                                         const typename W::Applied& applied, const Stretch& prepared,
                                                         int first_row, int64_t in_stretch, bool bypass_cache,
                                                         ChannelSums<T>& channel, typename Gradient::GateSum& gate_sum,
                                                         Vec<opmath_t<T>>& alpha, Vec<opmath_t<T>>& shift) {
  using V = Vec<opmath_t<T>>;
  Block<T, rows> all_x;
  for (int r = 0; r < rows; ++r) {
    set_row(all_x, r, load<T>(of.x + at + r * stride, count));
  }
  const auto gradient = applied.template gradient<W::channels>(all_x, c, count, prepared, first_row, in_stretch);
  for (int r = 0; r < rows; ++r) {
    const Chunk<T> x = row(all_x, r), g = load<T>(grad_output + at + r * stride, count);
    if constexpr (W::channels) {
      channel.grad = each([](V a, V b) { return a + b; }, channel.grad, g);
      channel.value = each([](V sum, V a, V b) { return fmadd(a, b, sum); }, channel.value, g, row(gradient.value, r));
    }
    const auto alive = row(gradient.alive, r);
    const auto h = each([](auto mask, V a, V b, V slope) { return select_or_zero(mask, a * b * slope); }, alive, g,
                        weight, row(gradient.slope, r));
    for (size_t k = 0; k < h.size(); ++k) {
      if constexpr (W::Applied::is_general) {
        channel.shift[k] = channel.shift[k] + h[k];
        channel.alpha[k] = fmadd(h[k], select_or_zero(alive[k], x[k]), channel.alpha[k]);
      } else {
        shift = shift + h[k];
        alpha = fmadd(h[k], select_or_zero(alive[k], x[k]), alpha);
      }
    }
    const auto of_x = [&]() __attribute__((always_inline)) { return applied.times_alpha(h, alive, c, count); };
    of.template finish<brings_any_nan<P>>(of_x, at + r * stride, count, bypass_cache, gate, gate_sum);
  }
}

// The sums of all channels alike, where alpha and shift have one element.
template <class W, class T>
inline void add_scalars(ScalarSums<T>& sums, const ChannelSums<T>& channel, Vec<opmath_t<T>> alpha,
                        Vec<opmath_t<T>> shift) {
  if constexpr (W::Applied::is_general) {
    for (size_t k = 0; k < vectors; ++k) {
      alpha = alpha + channel.alpha[k];
      shift = shift + channel.shift[k];
    }
  }
  sums.add(alpha, shift);
}

// `rows` neighbouring rows of channels [begin, end), shape.in_rows(). Adds to the sums.
template <class W, int rows, class P, class T = typename W::T>
inline void backward_rows(const cpu::BackwardTask& task, int64_t group, int64_t first_row, int64_t begin, int64_t end,
                          const ParameterRow<P>& weight, const ChannelRows<opmath_t<T>>& to, ScalarSums<T>& sums) {
  using V = Vec<opmath_t<T>>;
  const typename W::Applied applied(task, gradient_unit<typename W::Applied>, -1);
  const bool prefetches = task.prefetch, bypass_cache = bypasses_cache<T>(task.out_of_cache, task.shape);
  const int64_t channels = task.shape.channels;
  const auto* grad_output = static_cast<const T*>(task.grad_output) + first_row * channels;
  const typename W::In::Gradient of(task, first_row * channels, group, -1);
  constexpr int side = std::min(rows, rows_per_step);
  typename W::Applied::template Stretch<rows> prepared;
  const auto column = [&](int64_t c, int64_t count, int64_t in_stretch) __attribute__((always_inline)) {
    const Chunk<T> w = each([&](V x) { return applied.weight(x); }, weight.template load<T>(c, count));
    const auto gate = of.gate(c, count);
    ChannelSums<T> channel;
    auto gate_sum = W::In::Gradient::no_gate_sum();
    V alpha(0), shift(0);
    if (prefetches) {  // the next rows
      for (int r = rows; r < 2 * rows; ++r) {
        prefetch(grad_output + r * channels + c);
        of.prefetch_row(r * channels + c);
      }
    }
    const auto step = [&](int r) __attribute__((always_inline)) {
      backward_step<W, P, side>(grad_output, of, r * channels + c, channels, w, gate, c, count, applied, prepared, r,
                                in_stretch, bypass_cache, channel, gate_sum, alpha, shift);
    };
    if constexpr (W::In::adds) {  // more streams than registers: unrolled it would be twice as long and no faster
#pragma GCC unroll 1
      for (int r = 0; r < rows; r += side) {
        step(r);
      }
    } else {
#pragma GCC unroll 4
      for (int r = 0; r < rows; r += side) {
        step(r);
      }
    }
    add_scalars<W>(sums, channel, alpha, shift);
    const auto add_to = [&](opmath_t<T>* row, const Chunk<T>& sum) {
      if (row) {
        const auto add = [](V a, V b) { return a + b; };
        store_plain<T>(row + c - begin, each(add, load<T>(row + c - begin, count), sum), count);
      }
    };
    if constexpr (W::channels) {
      add_to(to.weight, channel.value);
      add_to(to.bias, channel.grad);
    }
    if constexpr (W::In::adds) {
      add_to(to.gate, gate_sum);
    }
    if constexpr (W::Applied::is_general) {
      add_to(to.alpha, channel.alpha);
      add_to(to.shift, channel.shift);
    }
  };
  for (int64_t c = begin; c < end;) {
    const int64_t first = c, stop = c + std::min(end - c, W::Applied::stretch);
    applied.prepare_gradient(prepared, of.x + c, channels, c, stop - c);
    for (; c + chunk_size<T> <= stop; c += chunk_size<T>) {
      column(c, chunk_size<T>, c - first);
    }
    if (c < stop) {
      column(c, stop - c, c - first);
      c = stop;
    }
  }
}

// `count` elements of one channel, whose sums go to entry `entry`.
template <class W, class P, class T = typename W::T>
inline void backward_segment(const cpu::BackwardTask& task, int64_t group, int64_t at, int64_t channel, int64_t entry,
                             int64_t count, const ParameterRow<P>& weights, const ChannelRows<opmath_t<T>>& to,
                             ScalarSums<T>& sums) {
  const typename W::Applied applied(task, gradient_unit<typename W::Applied>, channel);
  const bool bypass_cache = bypasses_cache<T>(task.out_of_cache, task.shape);
  const Vec<opmath_t<T>> w = applied.weight(Vec<opmath_t<T>>(weights.template one<T>(channel)));
  Chunk<T> weight{w, w};
  const T* grad_output = static_cast<const T*>(task.grad_output) + at;
  const typename W::In::Gradient of(task, at, group, channel);
  const auto gate = of.gate(0, chunk_size<T>);
  auto gate_sum = W::In::Gradient::no_gate_sum();
  ChannelSums<T> all;
  typename W::Applied::template Stretch<1> prepared;
  constexpr int64_t at_once = 4 * chunk_size<T>;
  static_assert(at_once <= W::Applied::stretch);
  for (int64_t i = 0; i < count;) {
    const int64_t first = i;
    applied.prepare_gradient(prepared, of.x + i, 0, 0, std::min(count - i, at_once));
    Vec<opmath_t<T>> alpha(0), shift(0);
    ChannelSums<T> few;
    few.value = all.value;
    few.grad = all.grad;
    const auto step = [&](int64_t n) __attribute__((always_inline)) {
      backward_step<W, P, 1>(grad_output, of, i, 0, weight, gate, 0, n, applied, prepared, 0, i - first, bypass_cache,
                             few, gate_sum, alpha, shift);
      i += n;
    };
    while (i - first < at_once && i + chunk_size<T> <= count) {
      step(chunk_size<T>);
    }
    if (i - first < at_once && i < count) {
      weight = zero_tail<T>(weight, count - i);  // or an infinite one would make NaN of the 0 in lanes past the end
      step(count - i);
    }
    add_scalars<W>(sums, few, alpha, shift);
    const auto add = [](Vec<opmath_t<T>> a, Vec<opmath_t<T>> b) { return a + b; };
    all = {few.value, few.grad, each(add, all.alpha, few.alpha), each(add, all.shift, few.shift)};
  }
  const auto add_to = [&](opmath_t<T>* row, const Chunk<T>& chunk) {
    if (row) {
      row[entry] += sum<T>(chunk);
    }
  };
  if constexpr (W::channels) {
    add_to(to.weight, all.value);
    add_to(to.bias, all.grad);
  }
  if constexpr (W::In::adds) {
    add_to(to.gate, gate_sum);
  }
  if constexpr (W::Applied::is_general) {
    add_to(to.alpha, all.alpha);
    add_to(to.shift, all.shift);
  }
}

// Rounds n numbers to the type of a gradient.
template <class Scalar>
inline void write(const Result& result, int64_t at, const Scalar* from, int64_t n) {
  const auto as = [&]<class To>(To) {
    auto* to = static_cast<To*>(result.data) + at;
    for (int64_t i = 0; i < n; ++i) {
      to[i] = static_cast<To>(from[i]);
    }
  };
  switch (result.type) {
    case Type::f64: return as(double{});
    case Type::f32: return as(float{});
    case Type::f16: return as(c10::Half{});
    default: return as(c10::BFloat16{});
  }
}

template <class W, class P>
inline void backward_tile(const cpu::BackwardTask& task, int64_t tile) {
  using T = typename W::T;
  using Scalar = opmath_t<T>;
  const auto& [size, count] = task.tiles;
  const auto& shape = task.shape;
  const int64_t channel_tile = tile % count.channels, partial_row = tile / count.channels;
  const int64_t group = partial_row / task.tiles.rows_of_group(),
                row_of_group = partial_row % task.tiles.rows_of_group();
  const int64_t inner_begin = row_of_group % count.inner * size.inner;
  const int64_t row_begin = row_of_group / count.inner * size.rows;
  const int64_t channel_begin = channel_tile * size.channels;
  const int64_t inner_end = std::min(inner_begin + size.inner, shape.inner);
  const int64_t row_end = std::min(row_begin + size.rows, shape.rows) + group * shape.rows;
  const int64_t channel_end = std::min(channel_begin + size.channels, shape.channels);
  const int64_t channels = channel_end - channel_begin;
  constexpr int64_t most = 2048;          // channels of a tile
  Scalar own[W::In::adds ? 5 : 4][most];  // where the tile writes the gradients itself
  const auto begin = [&](const cpu::Sums& sums, Scalar* itself) -> Scalar* {
    if (!sums.result.data) {
      return nullptr;
    }
    auto* row =
        sums.partial ? static_cast<Scalar*>(sums.partial) + partial_row * shape.channels + channel_begin : itself;
    std::fill(row, row + channels, Scalar(0));
    return row;
  };
  ChannelRows<Scalar> to;
  if constexpr (W::channels) {
    to.weight = begin(task.weight_sums, own[0]);
    to.bias = begin(task.bias_sums, own[1]);
  }
  if constexpr (W::Applied::is_general) {
    if (task.alphas) {
      to.alpha = begin(task.alpha_sums, own[2]);
      to.shift = begin(task.shift_sums, own[3]);
    }
  }
  if constexpr (W::In::adds) {
    to.gate = begin(task.gate_sums, own[4]);
  }
  const ParameterRow<P> weight(task.weight, task.param_type, group);
  ScalarSums<T> sums;
  int64_t row = group * shape.rows + row_begin;
  if (shape.in_rows()) {
    for (; row + 4 <= row_end; row += 4) {
      backward_rows<W, 4, P>(task, group, row, channel_begin, channel_end, weight, to, sums);
    }
    for (; row < row_end; ++row) {
      backward_rows<W, 1, P>(task, group, row, channel_begin, channel_end, weight, to, sums);
    }
  } else {
    for (; row < row_end; ++row) {
      for (int64_t c = channel_begin; c < channel_end; ++c) {
        const int64_t at = (row * shape.channels + c) * shape.inner + inner_begin;
        backward_segment<W, P>(task, group, at, c, c - channel_begin, inner_end - inner_begin, weight, to, sums);
      }
    }
  }
  const auto finish = [&](const cpu::Sums& sums, const Scalar* row, int64_t of_group) {
    if (row && !sums.partial) {
      write(sums.result, of_group * shape.channels + channel_begin, row, channels);
    }
  };
  finish(task.weight_sums, to.weight, group);
  finish(task.bias_sums, to.bias, group);
  finish(task.gate_sums, to.gate, group);
  finish(task.alpha_sums, to.alpha, 0);
  finish(task.shift_sums, to.shift, 0);
  if (!task.alphas) {
    const auto [alpha, shift] = sums.totals();
    if (task.alpha_sums.partial) {
      static_cast<double*>(task.alpha_sums.partial)[tile] = alpha;
    }
    if (task.shift_sums.partial) {
      static_cast<double*>(task.shift_sums.partial)[tile] = shift;
    }
  }
}

template <class Applied, class P, class In>
void backward(const cpu::BackwardTask& task, int64_t begin, int64_t end) {
  const auto run = [&](auto tile_kernel) {
    for (int64_t tile = begin; tile < end; ++tile) {
      tile_kernel(task, tile);
    }
  };
  constexpr bool always = Applied::is_general || In::adds;
  if (always || task.wants_channels()) {
    run(&backward_tile<Wanted<Applied, In, true>, P>);
  } else {
    run(&backward_tile<Wanted<Applied, In, always>, P>);
  }
  store_fence(task.out_of_cache);
}

template <class Scalar>
void reduce(const cpu::Reduce& call, int64_t begin, int64_t end) {
  constexpr int64_t width = 256;  // channels at a time, so that their sums stay in the nearest cache
  while (begin < end) {
    const int64_t group = begin / call.channels, first = begin % call.channels;
    const int64_t n = std::min({width, end - begin, call.channels - first});
    const auto* partial = static_cast<const Scalar*>(call.partial) + group * call.rows * call.channels + first;
    CompensatedSums<width> total;
    for (int64_t row = 0; row < call.rows; ++row) {
      total.add(partial + row * call.channels, n);
    }
    double totals[width];
    for (int64_t c = 0; c < n; ++c) {
      totals[c] = total.total_of(c);
    }
    write(call.result, begin, totals, n);
    begin += n;
  }
}

}  // namespace derf::CPU_CAPABILITY
