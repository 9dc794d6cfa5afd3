// All gradients in one pass over input and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g weight f'(u);  grad_input = alpha h;  grad_alpha = sum h x;  grad_shift = sum h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all but the channel.
// A thread sums its column's rows in float, a block its threads' sums in a tree, and a second kernel the blocks' in
// double: no atomics, the same bits every time. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include "lanes.cuh"

namespace derf::cuda {

template <class T>
struct BackwardTuning {
  static constexpr bool is_double = std::is_same_v<T, double>;  // whose functions take many registers
  static constexpr int threads = 512, unroll = is_double ? 1 : 2, blocks = is_double ? 1 : 2, most_rows = 256;
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

// What a thread adds up.
template <class Number, int width>
struct Sums {
  Number weight[width] = {}, bias[width] = {}, alpha = 0, shift = 0;
};

// Adds to the sums of the first `count` of threads, `stride` apart each, those of the others, in a tree.
template <int threads, class Number, int width>
DERF_THREAD void add_rows(Sums<Number, width>& sums, int32_t row, int32_t rows, int32_t stride) {
  __shared__ Number shared[2 * width][threads / 2];
  while (rows > 1) {
    const int32_t half = (rows + 1) / 2;
    __syncthreads();
    if (half <= row && row < rows) {
      const int32_t slot = int32_t(threadIdx.x) - half * stride;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        shared[2 * i][slot] = sums.weight[i];
        shared[2 * i + 1][slot] = sums.bias[i];
      }
    }
    __syncthreads();
    if (row < rows - half) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        sums.weight[i] += shared[2 * i][threadIdx.x];
        sums.bias[i] += shared[2 * i + 1][threadIdx.x];
      }
    }
    rows = half;
  }
}

// The sum over all threads of a block, known to thread 0.
template <int threads, class Number, int count>
DERF_THREAD void sum_block(Number (&values)[count]) {
  __shared__ Number shared[count][threads / 32];
#pragma unroll
  for (int i = 0; i < count; ++i) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      values[i] += from_lane_below(values[i], distance);
    }
    if (threadIdx.x % 32 == 0) {
      shared[i][threadIdx.x / 32] = values[i];
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int32_t warp = 1; warp < int32_t(blockDim.x) / 32; ++warp) {
#pragma unroll
      for (int i = 0; i < count; ++i) {
        values[i] += shared[i][warp];
      }
    }
  }
}

template <template <class> class F, class T, class P, int width, bool by_channel>
__global__ void __launch_bounds__(BackwardTuning<T>::threads, BackwardTuning<T>::blocks)
    backward_kernel(Backward call, Tiles tiles, Partials<NumberOf<T>> partials) {
  using Number = NumberOf<T>;
  constexpr int unroll = BackwardTuning<T>::unroll;
  const Place place(tiles, width);
  Sums<Number, width> sums;
  if (place.rows) {
    const Number alpha = read<Number>(call.alpha), shift = read<Number>(call.shift);
    // Where alpha is infinite all slopes are 0, or NaN.
    const Number factor = std::fmin(std::fmax(alpha, -largest<Number>), largest<Number>);
    Number weight[by_channel ? 1 : width];
    read_channels<by_channel, P>(call.weight, place, call.shape.inner, Number(1), weight);
    const T* grad_output = static_cast<const T*>(call.grad_output) + place.offset;
    const T* input = static_cast<const T*>(call.input) + place.offset;
    T* grad_input = static_cast<T*>(call.grad_input) + (call.grad_input ? place.offset : 0);
    const auto one_row = [&](const Loaded<T, width>& grad_packet, const Loaded<T, width>& input_packet, T* to) {
      Numbers<T, width> g, x;
      widen<T, width>(grad_packet, g);
      widen<T, width>(input_packet, x);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const Number u = std::fma(alpha, x[i], shift), slope = F<T>::slope(u);
        const bool dead = slope == 0;
        const Number h = dead ? 0 : g[i] * weight[by_channel ? 0 : i] * slope;
        sums.weight[i] = std::fma(g[i], F<T>::value(u), sums.weight[i]);
        sums.bias[i] += g[i];
        sums.alpha = std::fma(h, dead ? 0 : x[i], sums.alpha);
        sums.shift += h;
        x[i] = h * factor;
      }
      if (call.grad_input) {
        store<T, width>(to, x);
      }
    };
    int32_t row = 0;
    for (; row + unroll <= place.rows; row += unroll) {
      Loaded<T, width> g[unroll], x[unroll];
#pragma unroll
      for (int k = 0; k < unroll; ++k) {
        g[k] = load<T, width>(grad_output + k * place.step);
        x[k] = load<T, width>(input + k * place.step);
      }
#pragma unroll
      for (int k = 0; k < unroll; ++k) {
        one_row(g[k], x[k], grad_input + k * place.step);
      }
      grad_output += unroll * place.step;
      input += unroll * place.step;
      grad_input += unroll * place.step;
    }
#pragma unroll 1
    for (; row < place.rows; ++row) {
      one_row(load<T, width>(grad_output), load<T, width>(input), grad_input);
      grad_output += place.step;
      input += place.step;
      grad_input += place.step;
    }
  }
  constexpr int threads = BackwardTuning<T>::threads;
  if constexpr (by_channel) {
    Number all[4] = {sums.alpha, sums.shift, 0, 0};
#pragma unroll
    for (int i = 0; i < width; ++i) {
      all[2] += sums.weight[i];
      all[3] += sums.bias[i];
    }
    sum_block<threads>(all);
    if (threadIdx.x == 0) {
      const int64_t at = (int64_t(place.row_tile) * tiles.column_tiles + place.column_tile) * tiles.matrices + place.matrix;
      if (partials.alpha) partials.alpha[blockIdx.x] = all[0];
      if (partials.shift) partials.shift[blockIdx.x] = all[1];
      if (partials.weight) partials.weight[at] = all[2];
      if (partials.bias) partials.bias[at] = all[3];
    }
  } else {
    Number all[2] = {sums.alpha, sums.shift};
    sum_block<threads>(all);
    if (threadIdx.x == 0) {
      if (partials.alpha) partials.alpha[blockIdx.x] = all[0];
      if (partials.shift) partials.shift[blockIdx.x] = all[1];
    }
    if (partials.weight || partials.bias) {
      add_rows<threads>(sums, place.row_thread, tiles.row_threads, tiles.column_threads);
      if (place.row_thread == 0 && place.column < tiles.columns * width) {
        const int64_t at = place.row_tile * tiles.row_stride + place.column;
#pragma unroll
        for (int i = 0; i < width; ++i) {
          if (partials.weight) partials.weight[at + i] = sums.weight[i];
          if (partials.bias) partials.bias[at + i] = sums.bias[i];
        }
      }
    }
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
  int32_t lanes;    // channels of a block
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
  const int32_t lanes = call.lanes, groups = total_threads / lanes;
  const int32_t lane = int32_t(threadIdx.x) % lanes, group = int32_t(threadIdx.x) / lanes;
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
  for (int32_t rows = groups; rows > 1;) {
    const int32_t half = (rows + 1) / 2;
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
