// How the work is cut into blocks of threads: from the shape, the width of a thread's loads and the number of
// multiprocessors alone, so results are bitwise the same from run to run on one device.
#pragma once
#include <algorithm>
#include <bit>

#include "../call.h"
#include "../functions/thread.h"

namespace derf::cuda {

inline int64_t ceil_div(int64_t all, int64_t size) { return (all + size - 1) / size; }

// Divides numbers below 2^31 by one of [1, 2^31] that is known at launch: a multiplication and a shift, where a GPU's
// own division takes some twenty instructions, one after the other.
struct Divider {
  uint32_t magic = 1, shift = 0;

  Divider() = default;
  explicit Divider(uint32_t divisor) : shift(uint32_t(std::bit_width(divisor - 1))) {
    magic = uint32_t((uint64_t(1) << 32) * ((uint64_t(1) << shift) - divisor) / divisor + 1);
  }
  DERF_THREAD uint32_t quotient(uint32_t dividend) const {
    return (uint32_t(uint64_t(dividend) * magic >> 32) + dividend) >> shift;
  }
};

// What a kernel wants of its launch.
struct LaunchConfig {
  int threads;     // in a block, at most
  int blocks;      // for each multiprocessor
  int unroll;      // a thread takes so many rows at a time
  int wave_rows;   // that a thread walks down where all blocks find room at once
  int most_rows;   // and where they do not
  int least_rows;  // of a tile, so that its parameters and partial sums are few beside them
  int one_block;   // so many loads of threads are a single block's work
};

// A thread stays in one column of `width` neighbouring elements and walks down the rows of one group, so that the
// column's parameters and sums stay in its registers. A row has all channels, of several of the shape's rows where it
// takes these to make a whole number of loads.
struct Tiling {
  int64_t group_numel, groups;
  int64_t rows, row_stride;         // of a group; the stride in elements
  int64_t columns;                  // of `width` elements
  int64_t inner;                    // elements of a channel in a row
  int64_t rows_per_tile, step;      // the step from a thread's row to its next one, in elements
  uint32_t channels, row_channels;  // of the shape, and of a row here,
  uint32_t merged_rows;             // which is so many of the shape's
  uint32_t column_tiles, row_tiles;
  uint32_t column_threads, row_threads;
  uint32_t slots;  // channels that a tile's columns may belong to, at most
  Divider by_column_tiles, by_row_tiles, by_column_threads, by_row_threads, by_channels, by_inner;

  static constexpr int64_t most_divisible = INT32_MAX;  // by a Divider

  // Whether loads of `width` elements go into a group.
  static bool takes(const Shape& shape, int width) {
    return shape.rows * shape.channels * shape.inner % width == 0 &&
           shape.channels < 1 << 26;  // 16 times these are divisible
  }

  // line_threads: as many threads side by side as have a line of 128 bytes.
  Tiling(const Shape& shape, int width, int line_threads, int processors, const LaunchConfig& config)
      : group_numel(shape.rows * shape.channels * shape.inner),
        groups(shape.groups),
        channels(uint32_t(shape.channels)),
        merged_rows(1) {
    if (shape.channels == 1) {  // one stretch of memory, cut into rows: the last may end early
      row_channels = 1;
      columns = config.threads;
      inner = row_stride = columns * width;
      rows = ceil_div(group_numel, row_stride);
    } else {
      const int64_t row = shape.channels * shape.inner;
      const auto is_odd = [&](int64_t unit) { return merged_rows * row % unit != 0; };
      while (is_odd(width)) {
        merged_rows *= 2;
      }
      while (merged_rows > 1 && merged_rows < 64 && is_odd(line_threads * width / 4) &&
             shape.rows % (2 * merged_rows) == 0 && 2 * merged_rows * shape.channels <= most_divisible) {
        merged_rows *= 2;  // to whole sectors of memory, a quarter of a line
      }
      row_channels = merged_rows * channels;
      inner = shape.inner;
      row_stride = row_channels * inner;
      columns = row_stride / width;
      rows = shape.rows / merged_rows;
    }
    // Tiles of few columns and many rows have fewer parameters and sums: narrower ones until the rows are enough.
    for (column_tiles = uint32_t(ceil_div(columns, config.threads));; column_tiles *= 2) {
      const int64_t fair = ceil_div(ceil_div(columns, column_tiles), line_threads) * line_threads;
      column_threads = uint32_t(std::min({fair, columns, int64_t(config.threads)}));
      column_tiles = uint32_t(ceil_div(columns, column_threads));
      cut_rows(processors, config);
      if (row_tiles == 1 || rows_per_tile >= config.least_rows || column_threads <= uint32_t(line_threads)) {
        break;
      }
    }
    const int64_t elements = int64_t(column_threads) * width;
    slots = uint32_t(inner == 1 ? elements : std::min<int64_t>((elements - 1) / inner + 2, row_channels));
    by_column_tiles = Divider(column_tiles);
    by_row_tiles = Divider(row_tiles);
    by_column_threads = Divider(column_threads);
    by_row_threads = Divider(row_threads);
    by_channels = Divider(channels);
    by_inner = Divider(uint32_t(std::min(inner, most_divisible)));
  }

  int64_t blocks() const { return groups * row_tiles * column_tiles; }
  uint32_t threads() const { return uint32_t(ceil_div(column_threads * row_threads, 32) * 32); }

 private:
  void cut_rows(int processors, const LaunchConfig& config) {
    row_threads = uint32_t(std::min<int64_t>(config.threads / column_threads, rows));
    const int64_t walks = ceil_div(rows, row_threads);  // of a group's columns, if of one row each
    // Where a block has fewer threads, more blocks find room on a multiprocessor.
    const int64_t at_once = int64_t(processors) * (config.blocks * config.threads / threads());
    const bool is_small = groups == 1 && column_tiles == 1 && rows * columns <= config.one_block;
    int64_t fair = is_small ? walks : ceil_div(groups * walks * column_tiles, at_once);
    const bool one_wave = !is_small && fair <= config.wave_rows;
    if (!is_small && !one_wave) {
      fair = config.most_rows;
    }
    do {
      const int64_t walk = fair == 1 ? 1 : ceil_div(fair, config.unroll) * config.unroll;
      rows_per_tile = walk * row_threads;
      row_tiles = uint32_t(ceil_div(rows, rows_per_tile));
      ++fair;  // one block more than find room at once would take as long as all of them again
    } while (one_wave && blocks() > at_once && row_tiles > 1);
    step = row_threads * row_stride;
  }
};

}  // namespace derf::cuda
