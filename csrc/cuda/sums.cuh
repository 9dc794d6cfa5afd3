// What the threads of a block of the backward add up, and where it goes: to the result, where the block has all of it,
// else to scratch memory, for reduce.cuh.
#pragma once
#include "memory.cuh"

namespace derf::cuda {

// The blocks' sums, in one piece of scratch memory; null: not wanted, or written to the result at once.
template <class Number>
struct Partials {
  Number *weight, *bias;  // [groups, row tiles, column tiles, channels of a tile]
  Number *alpha, *shift;  // the same, or one a block
  Number* gate;           // as weight
};

// One of these, and the result that it belongs to.
template <class Number>
struct Sum {
  Number* partial;
  const Result& result;

  DERF_THREAD bool wanted() const { return partial || result.data; }
  DERF_THREAD void write(int64_t in_partial, int64_t in_result, Number x) const {
    if (partial) {
      partial[in_partial] = x;
    } else if (result.data) {
      cuda::write(result, in_result, x);
    }
  }
};

// The sums of a thread over few rows are in registers, which go to shared memory before they lose much to rounding.
// `scalars` is how many of alpha's sums a thread keeps, and of shift's; `gates` of gate's.
template <class Number_, int width, int scalars, int gates, int threads>
struct Sums {
  using Number = Number_;
  static constexpr int weight = 0, bias = width, alpha = 2 * width, shift = alpha + scalars, gate = shift + scalars,
                       count = gate + gates;
  static constexpr int rows = 32;  // to keep in registers
  // So many words more than threads keep both threads side by side and a thread's elements in different banks.
  static constexpr int padding = width == 1 ? 0 : 32 * 4 / sizeof(Number) / width;
  using Memory = Number[count][threads + padding];

  Memory& shared;
  Number own[count] = {};

  DERF_THREAD explicit Sums(Memory& memory) : shared(memory) {
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

  // Makes one of all threads' sums [first, first + n): in shared[first][0], for thread 0.
  template <int n>
  DERF_THREAD void join_all(int first) {
    Number sum = shared[first][threadIdx.x];
#pragma unroll
    for (int i = 1; i < n; ++i) {
      sum += shared[first + i][threadIdx.x];
    }
    sum = sum_of_warp(sum);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
      shared[first][threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      for (uint32_t warp = 1; warp < blockDim.x / 32; ++warp) {
        shared[first][0] += shared[first][warp];
      }
    }
  }

  // Adds to the sums [first, last) of the first `most` * `stride` threads those of all `rows` * `stride` threads, in a
  // tree; returns how many rows are left.
  DERF_THREAD uint32_t add_rows(int first, int last, uint32_t rows, uint32_t stride, uint32_t most) const {
    while (rows > most) {
      const uint32_t half = (rows + 1) / 2;
      __syncthreads();
      if (threadIdx.x < (rows - half) * stride) {
        for (int i = first; i < last; ++i) {
          shared[i][threadIdx.x] += shared[i][threadIdx.x + half * stride];
        }
      }
      rows = half;
    }
    __syncthreads();
    return rows;
  }
};

// The sums of a tile's columns, added up for each channel and written.
template <class Sums, int width>
class ChannelSums {
  using Number = typename Sums::Number;
  static constexpr uint32_t rows_at_once = 16;  // that a thread adds up by itself

  const Sums& sums_;
  const Tiling& tiling_;
  const ThreadTile& tile_;
  int64_t first_;  // element of the tile, in its row
  int32_t elements_;

 public:
  DERF_THREAD ChannelSums(const Sums& sums, const Tiling& tiling, const ThreadTile& tile)
      : sums_(sums), tiling_(tiling), tile_(tile), first_(int64_t(tile.column_tile) * tiling.column_threads * width) {
    const int64_t left = tiling.row_stride - first_, all = int64_t(tiling.column_threads) * width;
    elements_ = int32_t(left < all ? left : all);
  }

  // Those that begin with the threads' sum `first`, `width` for each of `to`.
  template <int kinds>
  DERF_THREAD void write(int first, const Sum<Number> (&to)[kinds]) const {
    bool wanted = false;
#pragma unroll
    for (int kind = 0; kind < kinds; ++kind) {
      wanted = wanted || to[kind].wanted();
    }
    if (!wanted) {
      return;
    }
    const bool by_elements = tiling_.inner == 1;
    const uint32_t rows = sums_.add_rows(first, first + kinds * width, tiling_.row_threads, tiling_.column_threads,
                                         by_elements ? rows_at_once : 1);
    if (by_elements) {
#pragma unroll
      for (int kind = 0; kind < kinds; ++kind) {
        write_elements(first + kind * width, rows, to[kind]);
      }
    } else {
      write_channels(first, to);
    }
  }

 private:
  DERF_THREAD int64_t place(uint32_t slot) const {
    const int64_t tile = int64_t(tile_.row_tile) * tiling_.column_tiles + tile_.column_tile;
    return tile * tiling_.slots + slot;
  }
  DERF_THREAD int64_t result(int64_t channel) const { return int64_t(tile_.group) * tiling_.channels + channel; }

  // Each element is a channel: by all threads, side by side, each of which adds up the rows that are left.
  DERF_THREAD void write_elements(int first, uint32_t rows, const Sum<Number>& to) const {
    if (!to.wanted()) {
      return;
    }
    const int64_t in_partial = place(0), in_result = result(first_);
    for (uint32_t i = threadIdx.x; i < uint32_t(elements_); i += blockDim.x) {
      const Number* from = sums_.shared[first + i % width] + i / width;
      Number sums[4] = {};  // a single one would err more
#pragma unroll 1
      for (uint32_t row = 0; row < rows; row += 4) {
#pragma unroll
        for (uint32_t k = 0; k < 4; ++k, from += tiling_.column_threads) {
          if (row + k < rows) {
            sums[k] += *from;
          }
        }
      }
      to.write(in_partial + i, in_result + i, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
  }

  // A channel has several elements, of one thread or of several threads side by side: a thread adds up its own, so that
  // each is the sum of its channel up to there, and then, in steps of 1, 2, 4, ... threads, what came before.
  template <int kinds>
  DERF_THREAD void write_channels(int first, const Sum<Number> (&to)[kinds]) const {
    const uint32_t thread = threadIdx.x;
    const bool busy = thread < tiling_.column_threads && tile_.column < tiling_.row_stride;
    const Channels of(tile_, tiling_, width);
    const auto at = [&](int kind, int i) -> Number* { return sums_.shared[first + kind * width + i]; };
    // Threads before this one that have elements of the channel, from the tile's first on.
    const auto before = [&](int64_t channel) {
      const int64_t begin = channel * tiling_.inner - first_;
      return thread - uint32_t(begin < 0 ? 0 : begin / width);
    };
    const uint32_t before_first = busy ? before(of.first) : 0;
    const uint32_t before_last = busy && width > 1 ? before((tile_.column + width - 1) / tiling_.inner) : before_first;
    if (busy) {
      int32_t left = of.left;
#pragma unroll
      for (int i = 1; i < width; ++i) {
        if (--left == 0) {
          left = of.inner;
        } else {
          for (int kind = 0; kind < kinds; ++kind) {
            at(kind, i)[thread] += at(kind, i - 1)[thread];
          }
        }
      }
    }
    const int64_t most = tiling_.inner / width + 2;  // threads that have elements of one channel
    for (uint32_t step = 1; step < most && step < tiling_.column_threads; step *= 2) {
      Number earlier[kinds];
      __syncthreads();
      for (int kind = 0; kind < kinds; ++kind) {
        earlier[kind] = before_last >= step ? at(kind, width - 1)[thread - step] : 0;
      }
      __syncthreads();
      for (int kind = 0; kind < kinds; ++kind) {
        at(kind, width - 1)[thread] += earlier[kind];
      }
    }
    __syncthreads();
    if (busy) {
      int32_t left = of.left;
      uint32_t ends = 0;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const bool ends_channel = --left == 0, ends_tile = tile_.column - first_ + i + 1 == elements_;
        if (ends_channel || ends_tile) {
          const uint32_t slot = uint32_t(of.first - first_ / tiling_.inner) + ends;
          const bool goes_on = i < width - 1 && ends == 0 && before_first > 0;
          for (int kind = 0; kind < kinds; ++kind) {
            const Number x = at(kind, i)[thread] + (goes_on ? at(kind, width - 1)[thread - 1] : 0);
            to[kind].write(place(slot), result(of.first + ends), x);
          }
        }
        if (ends_channel) {
          left = of.inner;
          ++ends;
        }
      }
    }
  }
};

}  // namespace derf::cuda
