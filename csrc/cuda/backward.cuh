// All gradients in one pass over input and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g weight f'(u);  grad_input = alpha h;  grad_alpha = sum h x;  grad_shift = sum h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all but the channel.
// A thread sums its column's rows, a block its threads' sums in a tree, and a second kernel the blocks' in double: no
// atomics, the same bits every time. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include "lanes.cuh"

namespace derf::cuda {

template <class T>
struct BackwardTuning {
  static constexpr bool is_double = std::is_same_v<T, double>;  // whose functions take many registers
  static constexpr int threads = 256, unroll = is_double ? 1 : 2, blocks = is_double ? 2 : 3, most_rows = 512;
};
constexpr int total_threads = 1024;
template <class Number>
constexpr Number largest = std::numeric_limits<Number>::max();

// The blocks' sums, in one piece of scratch memory; null: not wanted.
template <class Number>
struct Partials {
  Number *weight, *bias;  // [row_tiles, row_stride], or [row_tiles * column_tiles, channels] where by_channel
  Number *alpha, *shift;  // [blocks]
};

// What the threads of a block add up: sums over few rows in registers, which go to shared memory before they lose much
// to rounding.
template <class Number, int width, int threads>
struct Sums {
  static constexpr int weight = 0, bias = width, alpha = 2 * width, shift = alpha + 1, count = alpha + 2;
  static constexpr int rows = 32;  // to keep in registers

  Number (&shared)[count][threads];
  Number own[count] = {};

  DERF_THREAD explicit Sums(Number (&memory)[count][threads]) : shared(memory) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      shared[i][threadIdx.x] = 0;
    }
  }

  DERF_THREAD void put_away() {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      shared[i][threadIdx.x] += own[i];
      own[i] = 0;
      asm volatile("" ::: "memory");  // all at once would not find registers enough
    }
  }

  // Adds to the sums [first, last) of the first `stride` threads those of all `rows` * `stride` threads, in a tree.
  DERF_THREAD void add_rows(int first, int last, uint32_t rows, uint32_t stride) {
    while (rows > 1) {
      const uint32_t half = (rows + 1) / 2;
      __syncthreads();
      if (threadIdx.x < (rows - half) * stride) {
        for (int i = first; i < last; ++i) {
          shared[i][threadIdx.x] += shared[i][threadIdx.x + half * stride];
        }
      }
      rows = half;
    }
  }
};

template <template <class> class F, class T, class P, int width, bool by_channel>
__global__ void __launch_bounds__(BackwardTuning<T>::threads, BackwardTuning<T>::blocks)
    backward_kernel(Backward call, Tiles tiles, Partials<NumberOf<T>> partials) {
  using Number = NumberOf<T>;
  constexpr int threads = BackwardTuning<T>::threads, unroll = BackwardTuning<T>::unroll;
  using TheSums = Sums<Number, width, threads>;
  __shared__ Number shared[TheSums::count][threads];
  TheSums sums(shared);
  const Place place(tiles, width);
  if (place.rows) {
    const Number alpha = read<Number>(call.alpha), shift = read<Number>(call.shift);
    // Where alpha is infinite all slopes are 0, or NaN.
    const Number factor = std::fmin(std::fmax(alpha, -largest<Number>), largest<Number>);
    Number weight[by_channel ? 1 : width];
    read_channels<by_channel, P>(call.weight, place, call.shape.inner, Number(1), weight);
    const auto* grad_output = static_cast<const T*>(call.grad_output);
    const auto* input = static_cast<const T*>(call.input);
    auto* grad_input = static_cast<T*>(call.grad_input);
    int64_t at = place.offset;
    const auto one_row = [&](const Loaded<T, width>& grad_packet, const Loaded<T, width>& input_packet, int64_t to) {
      Numbers<T, width> g, x;
      widen<T, width>(grad_packet, g);
      widen<T, width>(input_packet, x);
      Number alpha_sum = 0, shift_sum = 0;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const Number u = std::fma(alpha, x[i], shift), slope = F<T>::slope(u);
        const bool dead = slope == 0;
        const Number h = dead ? 0 : g[i] * weight[by_channel ? 0 : i] * slope;
        sums.own[TheSums::weight + i] = std::fma(g[i], F<T>::value(u), sums.own[TheSums::weight + i]);
        sums.own[TheSums::bias + i] += g[i];
        alpha_sum = std::fma(h, dead ? 0 : x[i], alpha_sum);
        shift_sum += h;
        x[i] = h * factor;
      }
      sums.own[TheSums::alpha] += alpha_sum;
      sums.own[TheSums::shift] += shift_sum;
      if (grad_input) {
        store<T, width>(grad_input + to, x);
      }
    };
    uint32_t row = 0;
    for (; row + unroll <= place.rows; row += unroll, at += unroll * place.step) {
      Loaded<T, width> g[unroll], x[unroll];
#pragma unroll
      for (int k = 0; k < unroll; ++k) {
        g[k] = load<T, width>(grad_output + at + k * place.step);
        x[k] = load<T, width>(input + at + k * place.step);
      }
#pragma unroll
      for (int k = 0; k < unroll; ++k) {
        one_row(g[k], x[k], at + k * place.step);
      }
      if ((row + unroll) % TheSums::rows == 0) {
        sums.put_away();
      }
    }
#pragma unroll 1
    for (; row < place.rows; ++row, at += place.step) {
      one_row(load<T, width>(grad_output + at), load<T, width>(input + at), at);
    }
    sums.put_away();
  }
  const bool is_first = threadIdx.x == 0;
  const uint32_t used = tiles.column_threads * tiles.row_threads;
  if constexpr (by_channel) {
#pragma unroll
    for (int i = 1; i < width; ++i) {
      shared[TheSums::weight][threadIdx.x] += shared[TheSums::weight + i][threadIdx.x];
      shared[TheSums::bias][threadIdx.x] += shared[TheSums::bias + i][threadIdx.x];
    }
    sums.add_rows(TheSums::weight, TheSums::weight + 1, used, 1);
    sums.add_rows(TheSums::bias, TheSums::bias + 1, used, 1);
    if (is_first) {
      const int64_t row = int64_t(place.row_tile) * tiles.column_tiles + place.column_tile;
      const int64_t at = row * tiles.matrices + place.matrix;
      if (partials.weight) partials.weight[at] = shared[TheSums::weight][0];
      if (partials.bias) partials.bias[at] = shared[TheSums::bias][0];
    }
  } else if (partials.weight || partials.bias) {
    sums.add_rows(TheSums::weight, TheSums::alpha, tiles.row_threads, tiles.column_threads);
    const int64_t column = place.column_tile * int64_t(tiles.column_threads) + threadIdx.x;  // in the first row
    if (threadIdx.x < tiles.column_threads && column < tiles.columns) {
      const int64_t at = place.row_tile * tiles.row_stride + column * width;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        if (partials.weight) partials.weight[at + i] = shared[TheSums::weight + i][threadIdx.x];
        if (partials.bias) partials.bias[at + i] = shared[TheSums::bias + i][threadIdx.x];
      }
    }
  }
  sums.add_rows(TheSums::alpha, TheSums::count, used, 1);
  if (is_first) {
    if (partials.alpha) partials.alpha[blockIdx.x] = shared[TheSums::alpha][0];
    if (partials.shift) partials.shift[blockIdx.x] = shared[TheSums::shift][0];
  }
}

// One sum of partial sums, or one for each channel.
template <class Number>
struct Total {
  const Number* partial;  // [rows, channels, inner]
  uint32_t rows, inner;
  int64_t channels;
  void* result;
  Type type;
  uint32_t lanes;   // channels of a block
  uint32_t blocks;  // 0: not wanted
};

template <class Number>
struct Totals {
  Total<Number> each[4];
};

template <class Number>
__global__ void __launch_bounds__(total_threads) total_kernel(Totals<Number> totals) {
  uint32_t block = blockIdx.x, k = 0;
  while (block >= totals.each[k].blocks) {
    block -= totals.each[k++].blocks;
  }
  const Total<Number>& call = totals.each[k];
  const uint32_t lanes = call.lanes, groups = total_threads / lanes;
  const uint32_t lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
  const int64_t channel = int64_t(block) * lanes + lane;
  double sum = 0;
  if (channel < call.channels && group < groups) {
    const Number* from = call.partial + channel * call.inner;
#pragma unroll 8
    for (uint32_t i = group; i < call.rows * call.inner; i += groups) {
      sum += from[i / call.inner * (call.channels * call.inner) + i % call.inner];
    }
  }
  __shared__ double shared[total_threads];
  for (uint32_t rows = groups; rows > 1;) {
    const uint32_t half = (rows + 1) / 2;
    __syncthreads();
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (group < rows - half) {
      sum += shared[threadIdx.x + half * lanes];
    }
    rows = half;
  }
  if (group == 0 && channel < call.channels) {
    write(call.result, call.type, channel, sum);
  }
}

}  // namespace derf::cuda
