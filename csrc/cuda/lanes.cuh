// A thread's share of memory: which elements, and how they are loaded and stored. The one place that knows element
// types; kernels see float, or double, alone.
#pragma once
#include "device.cuh"

namespace derf::cuda {

template <class T>
using NumberOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

DERF_THREAD float widen(float x) { return x; }
DERF_THREAD double widen(double x) { return x; }

// Neighbouring elements as they are in memory; several of them fill 128 bits.
template <class T, int width>
struct alignas(width * sizeof(T)) Packet {
  T element[width];
};
template <class T, int width>
constexpr bool in_pairs = sizeof(T) == 2 && width > 1;

template <class T>
constexpr int vector_width = 16 / sizeof(T);

template <class T, int width>
using Numbers = NumberOf<T>[width];

// A packet of 16-bit elements, seen as pairs.
template <int width>
struct alignas(width * 2) Pairs {
  uint32_t pair[width / 2];
};
template <class T, int width>
using Loaded = std::conditional_t<in_pairs<T, width>, Pairs<width>, Packet<T, width>>;

// The type that memory is accessed by: for 128 bits one of CUDA's own, lest the compiler take a packet apart.
template <class Packet>
using Access = std::conditional_t<sizeof(Packet) == sizeof(uint4), uint4, Packet>;

template <class T, int width>
DERF_THREAD Loaded<T, width> load(const T* from) {
  using Packet = Loaded<T, width>;
  const Access<Packet> bits = *reinterpret_cast<const Access<Packet>*>(from);
  return __builtin_bit_cast(Packet, bits);
}

DERF_THREAD void widen_pair(BFloat16, uint32_t pair, float& low, float& high) {
  low = bits_as_float(pair << 16);
  high = bits_as_float(pair & 0xffff0000);
}
DERF_THREAD void widen_pair(Half, uint32_t pair, float& low, float& high) {
  low = widen(Half{uint16_t(pair)});
  high = widen(Half{uint16_t(pair >> 16)});
}

template <class T, int width>
DERF_THREAD void widen(const Loaded<T, width>& from, Numbers<T, width>& to) {
  if constexpr (in_pairs<T, width>) {
#pragma unroll
    for (int i = 0; i < width; i += 2) {
      widen_pair(T(), from.pair[i / 2], to[i], to[i + 1]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < width; ++i) {
      to[i] = widen(from.element[i]);
    }
  }
}

template <class T>
DERF_THREAD T narrow(NumberOf<T> x) {
  if constexpr (sizeof(T) == 2) {
    return T{uint16_t(narrow_pair(T(), x, 0))};
  } else {
    return x;
  }
}

template <class T, int width>
DERF_THREAD void store(T* to, const Numbers<T, width>& from) {
  Loaded<T, width> packet;
  if constexpr (in_pairs<T, width>) {
#pragma unroll
    for (int i = 0; i < width; i += 2) {
      packet.pair[i / 2] = narrow_pair(T(), from[i], from[i + 1]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < width; ++i) {
      packet.element[i] = narrow<T>(from[i]);
    }
  }
  using Memory = Access<Loaded<T, width>>;
  write_at_once(reinterpret_cast<Memory*>(to), __builtin_bit_cast(Memory, packet));
}

// A parameter of one element.
template <class Number>
DERF_THREAD Number read(const Scalar& scalar) {
  switch (scalar.type) {
    case Type::f64: return Number(*static_cast<const double*>(scalar.data));
    case Type::f32: return *static_cast<const float*>(scalar.data);
    case Type::f16: return widen(*static_cast<const Half*>(scalar.data));
    default: return widen(*static_cast<const BFloat16*>(scalar.data));
  }
}

// Rounds a sum to the type of what it belongs to.
DERF_THREAD void write(void* to, Type type, int64_t at, double x) {
  switch (type) {
    case Type::f64: static_cast<double*>(to)[at] = x; break;
    case Type::f32: static_cast<float*>(to)[at] = float(x); break;
    case Type::f16: static_cast<Half*>(to)[at] = narrow<Half>(float(x)); break;
    default: static_cast<BFloat16*>(to)[at] = narrow<BFloat16>(float(x));
  }
}

// Where a thread works: a column of `width` elements, from a first row on, every so many rows.
struct Place {
  int64_t offset, step;                    // of the first row's elements in memory; from row to row
  int64_t column;                          // of the first of its elements, in its matrix
  uint32_t row_tile, column_tile, matrix;  // the block's
  uint32_t rows;                           // 0: nothing to do

  DERF_THREAD Place(const Tiles& tiles, int width) {
    const uint32_t tile = blockIdx.x % (tiles.column_tiles * tiles.matrices);
    row_tile = blockIdx.x / (tiles.column_tiles * tiles.matrices);
    column_tile = tile % tiles.column_tiles;
    matrix = tile / tiles.column_tiles;
    const uint32_t row_thread = threadIdx.x / tiles.column_threads;
    column = (int64_t(column_tile) * tiles.column_threads + threadIdx.x % tiles.column_threads) * width;
    const int64_t first_row = row_tile * tiles.rows_per_tile + row_thread;
    const int64_t matrix_offset = matrix * (tiles.columns * width) + column;
    offset = matrix_offset + first_row * tiles.row_stride;
    step = tiles.row_threads * tiles.row_stride;
    // The last row may end before this column.
    const bool whole = matrix_offset + (tiles.rows - 1) * tiles.row_stride + width <= tiles.numel;
    const int64_t tile_end = (row_tile + 1) * tiles.rows_per_tile, last = tiles.rows - !whole;
    const int64_t end = tile_end < last ? tile_end : last;
    const bool idle = row_thread >= tiles.row_threads || column >= tiles.columns * width || end <= first_row;
    rows = idle ? 0 : uint32_t(end - first_row + tiles.row_threads - 1) / tiles.row_threads;
  }
};

// The values of weight or bias for a thread's column (all the same where a block has one channel); `absent` where there
// is none.
template <bool by_channel, class P, class Number, int width>
DERF_THREAD void read_channels(const void* parameter, const Place& place, int64_t inner, Number absent,
                               Number (&values)[width]) {
  const auto* from = static_cast<const P*>(parameter);
  int64_t channel = by_channel ? place.matrix : inner == 1 ? place.column : place.column / inner;
  int32_t left = int32_t((channel + 1) * inner - place.column);  // elements of this channel
#pragma unroll
  for (int i = 0; i < width; ++i) {
    values[i] = from ? Number(widen(from[channel])) : absent;
    if (!by_channel && --left == 0) {
      left = int32_t(inner);
      ++channel;
    }
  }
}

}  // namespace derf::cuda
