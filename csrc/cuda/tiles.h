// How the work is cut into blocks of threads: from the shape, the width of a thread's loads and the number of
// multiprocessors alone, so results are bitwise the same from run to run on one device.
#pragma once
#include <algorithm>
#include <cstdint>

namespace derf::cuda {

// Memory seen as [outer, channels, inner], dense; weight and bias hold one value a channel.
struct Shape {
  int64_t outer, channels, inner;

  int64_t numel() const { return outer * channels * inner; }

  // Whether a block works on one channel: where a channel has neighbours enough in memory for that. Elsewhere blocks
  // work on rows of all channels.
  bool by_channel() const { return channels == 1 || inner >= 256; }
};

// What a kernel wants of its tiles.
struct Wish {
  int threads;    // in a block, at most
  int blocks;     // for each multiprocessor
  int unroll;     // a thread takes so many rows at a time
  int most_rows;  // that a thread walks down
  int processors;
};

// A thread stays in one column of `width` neighbouring elements and walks down the rows, so that the column's
// parameters and sums stay in its registers. The columns are those of one matrix [outer, channels * inner] or,
// by_channel, those of a matrix [outer, inner] for each channel.
struct Tiles {
  int64_t numel;
  int64_t rows, row_stride;  // the stride in elements
  int64_t columns;           // of `width` elements
  int64_t rows_per_tile;
  uint32_t column_tiles, matrices, row_tiles;
  uint32_t column_threads, row_threads;

  static int64_t blocks_of(int64_t all, int64_t size) { return (all + size - 1) / size; }

  Tiles(const Shape& shape, int width, const Wish& wish) : numel(shape.numel()) {
    matrices = shape.by_channel() ? uint32_t(shape.channels) : 1;
    if (shape.channels == 1) {  // one stretch of memory, cut into rows: the last may end early
      columns = wish.threads;
      row_stride = columns * width;
      rows = blocks_of(numel, row_stride);
    } else {
      rows = shape.outer;
      row_stride = shape.channels * shape.inner;
      columns = row_stride / matrices / width;
    }
    column_tiles = uint32_t(blocks_of(columns, wish.threads));
    column_threads = uint32_t(blocks_of(columns, column_tiles));
    row_threads = uint32_t(std::min<int64_t>(wish.threads / column_threads, rows));
    const int64_t walks = blocks_of(rows, row_threads) * column_tiles * matrices;  // if of one row each
    // Where a block has fewer threads, more blocks find room on a multiprocessor.
    const int64_t at_once = int64_t(wish.processors) * wish.blocks * wish.threads / (column_threads * row_threads);
    const int64_t fair = std::min<int64_t>(blocks_of(walks, at_once), wish.most_rows);
    rows_per_tile = blocks_of(fair, wish.unroll) * wish.unroll * row_threads;
    row_tiles = uint32_t(blocks_of(rows, rows_per_tile));
  }

  uint32_t blocks() const { return row_tiles * column_tiles * matrices; }
  uint32_t threads() const { return uint32_t(blocks_of(column_threads * row_threads, 32) * 32); }
};

}  // namespace derf::cuda
