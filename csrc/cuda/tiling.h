// How the work is cut into blocks of threads: from the shape, the width of a thread's loads and the number of
// multiprocessors alone, so results are bitwise the same from run to run on one device.
#pragma once
#include <algorithm>

#include "../call.h"

namespace derf::cuda {

inline int64_t ceil_div(int64_t all, int64_t size) { return (all + size - 1) / size; }

// Whether a block works on one channel: where a channel has neighbours enough in memory for that. Elsewhere blocks work
// on rows of all channels.
inline bool is_by_channel(const Shape& shape) { return shape.channels == 1 || shape.inner >= 256; }

// What a kernel wants of its launch.
struct LaunchConfig {
  int threads;    // in a block, at most
  int blocks;     // for each multiprocessor
  int unroll;     // a thread takes so many rows at a time
  int most_rows;  // that a thread walks down
  int processors;
};

// A thread stays in one column of `width` neighbouring elements and walks down the rows of one group, so that the
// column's parameters and sums stay in its registers. The columns of a group are those of one matrix
// [rows, channels * inner] or, by channel, those of a matrix [rows, inner] for each channel.
struct Tiling {
  int64_t group_numel;
  int64_t rows, row_stride;  // of a group; the stride in elements
  int64_t columns;           // of `width` elements
  int64_t rows_per_tile;
  uint32_t column_tiles, matrices, row_tiles;
  int64_t groups;
  uint32_t column_threads, row_threads;

  Tiling(const Shape& shape, int width, const LaunchConfig& config)
      : group_numel(shape.rows * shape.channels * shape.inner), groups(shape.groups) {
    matrices = is_by_channel(shape) ? uint32_t(shape.channels) : 1;
    if (shape.channels == 1) {  // one stretch of memory, cut into rows: the last may end early
      columns = config.threads;
      row_stride = columns * width;
      rows = ceil_div(group_numel, row_stride);
    } else {
      rows = shape.rows;
      row_stride = shape.channels * shape.inner;
      columns = row_stride / matrices / width;
    }
    column_tiles = uint32_t(ceil_div(columns, config.threads));
    column_threads = uint32_t(ceil_div(columns, column_tiles));
    row_threads = uint32_t(std::min<int64_t>(config.threads / column_threads, rows));
    const int64_t walks = groups * ceil_div(rows, row_threads) * column_tiles * matrices;  // if of one row each
    // Where a block has fewer threads, more blocks find room on a multiprocessor.
    const int64_t at_once =
        int64_t(config.processors) * config.blocks * config.threads / (column_threads * row_threads);
    const int64_t fair = std::min<int64_t>(ceil_div(walks, at_once), config.most_rows);
    rows_per_tile = ceil_div(fair, config.unroll) * config.unroll * row_threads;
    row_tiles = uint32_t(ceil_div(rows, rows_per_tile));
  }

  int64_t blocks() const { return groups * row_tiles * column_tiles * matrices; }
  uint32_t threads() const { return uint32_t(ceil_div(column_threads * row_threads, 32) * 32); }
};

}  // namespace derf::cuda
