// The second kernel of the backward: the blocks' sums, added up in double.
#pragma once
#include "memory.cuh"
#include "tiling.h"

namespace derf::cuda {

// partial[groups][rows][column tiles][slots]: of each tile of columns its channels' sums. One result for each channel
// of each group: the sum over rows, over tiles that have some of the channel, and over channels of a row that share it.
template <class Number>
struct Reduction {
  const Number* partial;
  Result result;
  int64_t count;         // of results
  int64_t inner, tile;   // elements of a channel and of a tile
  uint32_t rows;         // of a group
  uint32_t channels;     // of a result
  uint32_t merged_rows;  // so many times these in a row
  uint32_t column_tiles, slots;
  uint32_t sums_per_block;
  uint32_t blocks;  // 0: not wanted
  bool divides;     // by these; else by a GPU's own division
  Divider by_channels, by_tile;
};

template <class Number>
struct Reductions {
  Reduction<Number> each[5];
};

constexpr int reduction_threads = 512;

template <class Number>
DERF_THREAD double sum_of_channel(const Reduction<Number>& call, int64_t index, uint32_t thread, uint32_t threads) {
  const int64_t group = call.divides ? call.by_channels.quotient(uint32_t(index)) : index / call.channels;
  double sum = 0;
  for (uint32_t k = 0; k < call.merged_rows; ++k) {
    const int64_t channel = index + (k - group) * call.channels, begin = channel * call.inner;
    int64_t first, first_slot, tiles = 1;  // the slot is 0 in the tiles after the first
    if (call.divides) {
      first = call.by_tile.quotient(uint32_t(channel));
      first_slot = channel - first * call.tile;
    } else {
      first = begin / call.tile;
      first_slot = channel - first * call.tile / call.inner;
      tiles = (begin + call.inner - 1) / call.tile - first + 1;
    }
    const Number* from = call.partial + (group * call.rows * call.column_tiles + first) * call.slots;
    const int64_t stride = int64_t(call.column_tiles) * call.slots;
    const uint32_t terms = call.rows * uint32_t(tiles);
#pragma unroll 8
    for (uint32_t i = thread; i < terms; i += threads) {
      const uint32_t row = tiles == 1 ? i : i / uint32_t(tiles), tile = i - row * uint32_t(tiles);
      sum += from[row * stride + (tile == 0 ? first_slot : int64_t(tile) * call.slots)];
    }
  }
  return sum;
}

template <class Number>
__global__ void __launch_bounds__(reduction_threads)
    reduce_partials_kernel(const __grid_constant__ Reductions<Number> reductions) {
  uint32_t block = blockIdx.x, k = 0;
  while (block >= reductions.each[k].blocks) {
    block -= reductions.each[k++].blocks;
  }
  const Reduction<Number>& call = reductions.each[k];
  const uint32_t side = call.sums_per_block, threads_per_sum = reduction_threads / side;
  const uint32_t thread_of_sum = threadIdx.x / side;
  const int64_t index = int64_t(block) * side + threadIdx.x % side;
  double sum = 0;
  wait_for_previous();
  if (index < call.count && thread_of_sum < threads_per_sum) {
    sum = sum_of_channel(call, index, thread_of_sum, threads_per_sum);
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
