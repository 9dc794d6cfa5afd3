// All gradients in one pass over x (input, or a sum) and grad_output. With u = alpha x + shift, g = grad_output:
//   h = g weight f'(u);  the gradient of x is alpha h;  grad_alpha = sum h x;  grad_shift = sum h;
//   grad_weight = sum g f(u) and grad_bias = sum g over all that share the parameter.
// A thread sums its column's rows, a block its threads' sums in a tree, and a second kernel the blocks' in double: no
// atomics, the same bits every time. Where f' is 0 the gradients are 0: never 0 * Inf.
#pragma once
#include "applied.cuh"
#include "input.cuh"

namespace derf::cuda {

// Whether 80 registers, those of three blocks on a multiprocessor, are too few.
template <class Applied>
constexpr bool needs_registers = Applied::is_general || std::is_same_v<typename Applied::T, double>;
template <class T>
constexpr bool needs_registers<Fixed<Tanh, T>> = true;

template <class Applied, class In>
struct BackwardTuning {
  static constexpr bool is_double = std::is_same_v<typename Applied::T, double>;  // functions of many registers
  static constexpr int threads = 256, unroll = is_double || Applied::is_general ? 1 : 2,
                       blocks = needs_registers<Applied> || In::adds ? 2 : 3, most_rows = 512;
};

// Whether a tile's place is found anew at the end, rather than kept through the loop. That saves ptxas spills (on
// sm_120), but costs erf's loop over rows moves (on sm_90), and there is room there.
template <class Applied, class In, bool by_channel>
constexpr bool finds_place_anew = true;
template <class T>
constexpr bool finds_place_anew<Fixed<Erf, T>, Plain<T>, false> = false;

// The blocks' sums, in one piece of scratch memory; null: not wanted.
template <class Number>
struct Partials {
  Number *weight, *bias;  // [groups, rows of a group, channels, inner], see kernels.cu
  Number *alpha, *shift;  // the same, or one a block
  Number* gate;           // as weight
};

// What the threads of a block add up: sums over few rows in registers, which go to shared memory before they lose much
// to rounding. `scalars` is how many of alpha's sums a thread keeps, and of shift's; `gates` of gate's.
template <class Number, int width, int scalars, int gates, int threads>
struct Sums {
  static constexpr int weight = 0, bias = width, alpha = 2 * width, shift = alpha + scalars, gate = shift + scalars,
                       count = gate + gates;
  static constexpr int rows = 32;  // to keep in registers

  Number (&shared)[count][threads];
  Number own[count] = {};

  DERF_THREAD explicit Sums(Number (&memory)[count][threads]) : shared(memory) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      shared[i][threadIdx.x] = 0;
    }
  }

  DERF_THREAD void flush_to_shared() {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      shared[i][threadIdx.x] += own[i];
      own[i] = 0;
      asm volatile("" ::: "memory");  // all at once would not find registers enough
    }
  }

  // Adds to the first of a thread's sums [first, first + n) the others.
  template <int n>
  DERF_THREAD void join(int first) {
#pragma unroll
    for (int i = 1; i < n; ++i) {
      shared[first][threadIdx.x] += shared[first + i][threadIdx.x];
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

template <class Applied, int width, bool by_channel, class In>
__global__ void __launch_bounds__(BackwardTuning<Applied, In>::threads, BackwardTuning<Applied, In>::blocks)
    backward_kernel(Backward call, Tiling tiling, typename Applied::Options options,
                    Partials<typename Applied::Number> partials) {
  using T = typename Applied::T;
  using Number = opmath_t<T>;
  using Column = typename Applied::template Column<width, by_channel>;
  using Gradient = typename In::template Gradient<width, by_channel>;
  constexpr int threads = BackwardTuning<Applied, In>::threads, unroll = BackwardTuning<Applied, In>::unroll;
  constexpr bool grouped = Applied::is_general || In::adds;
  using BlockSums = Sums<Number, width, Column::scalars, Gradient::gate_sums, threads>;
  __shared__ Number shared[BlockSums::count][threads];
  BlockSums sums(shared);
  const ThreadTile tile = ThreadTile::of<grouped>(tiling, width);
  if (tile.rows) {
    const Channels<by_channel> of(tile, call.shape.inner);
    const Column column(call, options, of);
    Number weight[by_channel ? 1 : width];
    of.template read<T>(call.weight, tile.group, Number(1), weight);
#pragma unroll
    for (Number& w : weight) {
      w = column.weight(w);
    }
    const auto* grad_output = static_cast<const T*>(call.grad_output);
    const Gradient of_input(call, tile, of);
    int64_t at = tile.offset;
    const auto one_row = [&](const Loaded<T, width>& grad_packet, const auto& packet, int64_t to) {
      Numbers<T, width> g, x, u, value, slope;
      widen<T, width>(grad_packet, g);
      of_input.take(packet, x);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        u[i] = column.preactivation(x[i], i);
      }
      column.gradient(u, value, slope);
      Number alpha_sums[Column::scalars] = {}, shift_sums[Column::scalars] = {};
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const int k = Column::scalars == 1 ? 0 : i;
        const bool dead = slope[i] == 0;
        const Number h = dead ? 0 : g[i] * weight[by_channel ? 0 : i] * slope[i];
        sums.own[BlockSums::weight + i] = std::fma(g[i], value[i], sums.own[BlockSums::weight + i]);
        sums.own[BlockSums::bias + i] += g[i];
        alpha_sums[k] = std::fma(h, dead ? 0 : x[i], alpha_sums[k]);
        shift_sums[k] += h;
        x[i] = column.times_alpha(h, dead, i);
      }
#pragma unroll
      for (int k = 0; k < Column::scalars; ++k) {
        sums.own[BlockSums::alpha + k] += alpha_sums[k];
        sums.own[BlockSums::shift + k] += shift_sums[k];
      }
      of_input.finish(x, packet, to, sums.own + BlockSums::gate);
    };
    uint32_t row = 0;
    for (; row + unroll <= tile.rows; row += unroll, at += unroll * tile.step) {
      Loaded<T, width> g[unroll];
      typename Gradient::Packet x[unroll];
#pragma unroll
      for (int k = 0; k < unroll; ++k) {
        g[k] = load<T, width>(grad_output + at + k * tile.step);
        x[k] = of_input.load(at + k * tile.step);
      }
#pragma unroll
      for (int k = 0; k < unroll; ++k) {
        one_row(g[k], x[k], at + k * tile.step);
      }
      if ((row + unroll) % BlockSums::rows == 0) {
        sums.flush_to_shared();
      }
    }
    if constexpr (unroll > 1) {
#pragma unroll 1
      for (; row < tile.rows; ++row, at += tile.step) {
        one_row(load<T, width>(grad_output + at), of_input.load(at), at);
      }
    }
    sums.flush_to_shared();
  }
  // Where alpha and shift have one element, their sums of a thread, and then of a block, become one.
  const bool scalars_per_channel = Applied::is_general && call.alpha_per_channel;
  if (by_channel || !scalars_per_channel) {
    sums.template join<Column::scalars>(BlockSums::alpha);
    sums.template join<Column::scalars>(BlockSums::shift);
  }
  const bool is_first = threadIdx.x == 0;
  const uint32_t used = tiling.column_threads * tiling.row_threads;
  if constexpr (by_channel) {
    sums.template join<width>(BlockSums::weight);
    sums.template join<width>(BlockSums::bias);
    sums.add_rows(BlockSums::weight, BlockSums::weight + 1, used, 1);
    sums.add_rows(BlockSums::bias, BlockSums::bias + 1, used, 1);
  } else if (partials.weight || partials.bias) {
    sums.add_rows(BlockSums::weight, BlockSums::alpha, tiling.row_threads, tiling.column_threads);
  }
  if constexpr (In::adds) {
    if (by_channel) {
      sums.template join<width>(BlockSums::gate);
      sums.add_rows(BlockSums::gate, BlockSums::gate + 1, used, 1);
    } else if (partials.gate) {
      sums.add_rows(BlockSums::gate, BlockSums::count, tiling.row_threads, tiling.column_threads);
    }
  }
  if (!by_channel && scalars_per_channel) {
    sums.add_rows(BlockSums::alpha, BlockSums::gate, tiling.row_threads, tiling.column_threads);
  } else {
    sums.add_rows(BlockSums::alpha, BlockSums::alpha + 1, used, 1);
    sums.add_rows(BlockSums::shift, BlockSums::shift + 1, used, 1);
  }
  // A block's row of partial sums for each channel.
  ThreadTile place = tile;
  if constexpr (finds_place_anew<Applied, In, by_channel>) {
    place = ThreadTile::again<grouped>(tiling, width);
  }
  const auto write_row = [&](Number* to, int first) {
    if (!to) {
    } else if (by_channel) {
      if (is_first) {
        to[(int64_t(place.row_tile) * tiling.column_tiles + place.column_tile) * tiling.matrices + place.matrix] =
            shared[first][0];
      }
    } else if (threadIdx.x < tiling.column_threads && place.column < tiling.columns * width) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        to[place.row_tile * tiling.row_stride + place.column + i] = shared[first + i][threadIdx.x];
      }
    }
  };
  write_row(partials.weight, BlockSums::weight);
  write_row(partials.bias, BlockSums::bias);
  if constexpr (In::adds) {
    write_row(partials.gate, BlockSums::gate);
  }
  if (scalars_per_channel) {
    write_row(partials.alpha, BlockSums::alpha);
    write_row(partials.shift, BlockSums::shift);
  } else if (is_first) {
    if (partials.alpha) partials.alpha[blockIdx.x] = shared[BlockSums::alpha][0];
    if (partials.shift) partials.shift[blockIdx.x] = shared[BlockSums::shift][0];
  }
}

// The sums of partial[group][row][channel][inner] over rows and inner, one for each channel of each group.
template <class Number>
struct Reduction {
  const Number* partial;
  uint32_t rows, channels, inner;
  int64_t count;  // of sums
  Result result;
  uint32_t sums_per_block;
  uint32_t blocks;  // 0: not wanted
};

template <class Number>
struct Reductions {
  Reduction<Number> each[5];
};

constexpr int reduction_threads = 1024;

template <class Number>
__global__ void __launch_bounds__(reduction_threads) reduce_partials_kernel(Reductions<Number> reductions) {
  uint32_t block = blockIdx.x, k = 0;
  while (block >= reductions.each[k].blocks) {
    block -= reductions.each[k++].blocks;
  }
  const Reduction<Number>& call = reductions.each[k];
  const uint32_t side = call.sums_per_block, threads_per_sum = reduction_threads / side;
  const uint32_t thread_of_sum = threadIdx.x / side;
  const int64_t index = int64_t(block) * side + threadIdx.x % side;
  double sum = 0;
  if (index < call.count && thread_of_sum < threads_per_sum) {
    const int64_t group = index / call.channels, stride = int64_t(call.channels) * call.inner;
    const Number* from = call.partial + group * call.rows * stride + (index - group * call.channels) * call.inner;
#pragma unroll 8
    for (uint32_t i = thread_of_sum; i < call.rows * call.inner; i += threads_per_sum) {
      sum += from[i / call.inner * stride + i % call.inner];
    }
  }
  __shared__ double shared[reduction_threads];
  for (uint32_t rows = threads_per_sum; rows > 1;) {
    const uint32_t half = (rows + 1) / 2;
    __syncthreads();
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (thread_of_sum < rows - half) {
      sum += shared[threadIdx.x + half * side];
    }
    rows = half;
  }
  if (thread_of_sum == 0 && index < call.count) {
    write(call.result, index, sum);
  }
}

}  // namespace derf::cuda
