// A thread's share of memory: which elements, and how they are loaded and stored. The one place that knows element
// types; kernels see float, or double, alone.
#pragma once
#include "device.cuh"
#include "tiling.h"

namespace derf::cuda {

// The type of arithmetic.
template <class T>
using opmath_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

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
struct Array {  // nvcc 12.4 crashes on an alias template of an array
  using type = opmath_t<T>[width];
};
template <class T, int width>
using Numbers = typename Array<T, width>::type;

// A packet of 16-bit elements, seen as pairs.
template <int width>
struct alignas(width * 2) Pairs {
  uint32_t pair[width / 2];
};
template <class T, int width>
using Loaded = std::conditional_t<in_pairs<T, width>, Pairs<width>, Packet<T, width>>;

// The type that memory is accessed by: one that the compiler does not take apart.
template <class Packet>
using Access = std::conditional_t<sizeof(Packet) == sizeof(uint4), uint4,
                                  std::conditional_t<sizeof(Packet) == sizeof(uint64_t), uint64_t, Packet>>;

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
DERF_THREAD T narrow(opmath_t<T> x) {
  if constexpr (sizeof(T) == 2) {
    return T{uint16_t(narrow_pair(T(), x, 0))};
  } else {
    return x;
  }
}

template <class T, int width>
DERF_THREAD Loaded<T, width> narrowed(const Numbers<T, width>& from) {
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
  return packet;
}

template <class T, int width>
DERF_THREAD void store_packet(T* to, const Loaded<T, width>& packet) {
  using Memory = Access<Loaded<T, width>>;
  write_at_once(reinterpret_cast<Memory*>(to), __builtin_bit_cast(Memory, packet));
}

template <class T, int width>
DERF_THREAD void store(T* to, const Numbers<T, width>& from) {
  store_packet<T, width>(to, narrowed<T, width>(from));
}

// Values of a parameter on their way from memory. A kernel asks for all that it needs before it waits for the first:
// numbers of 16 bits stay packed, as they are in memory, until unpack().
template <class T, int n>
struct Fetched {
  opmath_t<T> values[n];
  bool packed = false;

  DERF_THREAD void fill(opmath_t<T> x) {
#pragma unroll
    for (auto& each : values) {
      each = x;
    }
  }
  // n neighbours.
  DERF_THREAD void fetch_packet(const T* from) {
    const Loaded<T, n> packet = load<T, n>(from);
    if constexpr (sizeof(T) == 2) {
      packed = true;
      if constexpr (n == 1) {
        values[0] = bits_as_float(packet.element[0].bits);
      } else {
#pragma unroll
        for (int i = 0; i < n / 2; ++i) {
          values[i] = bits_as_float(packet.pair[i]);
        }
      }
    } else {
      widen<T, n>(packet, values);
    }
  }
  DERF_THREAD void unpack() {
    if constexpr (sizeof(T) == 2) {
      if (packed) {
        Loaded<T, n> packet;
        if constexpr (n == 1) {
          packet.element[0].bits = uint16_t(__builtin_bit_cast(uint32_t, values[0]));
        } else {
#pragma unroll
          for (int i = 0; i < n / 2; ++i) {
            packet.pair[i] = __builtin_bit_cast(uint32_t, values[i]);
          }
        }
        widen<T, n>(packet, values);
      }
    }
  }
};

// A parameter's element `at`, of the type T of input or float; where it is absent, -0: what leaves every number as it
// is when added, 0 included.
template <class T>
DERF_THREAD Fetched<T, 1> fetch_one(const void* data, Type type, int64_t at = 0) {
  Fetched<T, 1> to;
  if (!data) {
    to.fill(-opmath_t<T>(0));
  } else if (sizeof(T) == 2 && type == Type::f32) {
    to.fill(static_cast<const float*>(data)[at]);
  } else {
    to.fetch_packet(static_cast<const T*>(data) + at);
  }
  return to;
}

// Rounds a sum to the type of what it belongs to.
DERF_THREAD void write(const Result& to, int64_t at, double x) {
  switch (to.type) {
    case Type::f64: static_cast<double*>(to.data)[at] = x; break;
    case Type::f32: static_cast<float*>(to.data)[at] = float(x); break;
    case Type::f16: static_cast<Half*>(to.data)[at] = narrow<Half>(float(x)); break;
    default: static_cast<BFloat16*>(to.data)[at] = narrow<BFloat16>(float(x));
  }
}

// Where a thread works: a column of `width` elements, from a first row on, every so many rows.
struct ThreadTile {
  int64_t offset, step;  // of the first row's elements in memory; from row to row
  int64_t column;        // of the first of its elements, in its row
  uint32_t column_tile;  // the block's
  uint32_t row_tile;     // the block's, counted on through the groups
  uint32_t group;        // the block's
  uint32_t rows;         // 0: nothing to do

  DERF_THREAD static ThreadTile of(const Tiling& tiling, int width, uint32_t block = blockIdx.x,
                                   uint32_t thread = threadIdx.x) {
    ThreadTile to;
    to.row_tile = tiling.by_column_tiles.quotient(block);
    to.column_tile = block - to.row_tile * tiling.column_tiles;
    to.group = tiling.by_row_tiles.quotient(to.row_tile);
    const uint32_t row_tile = to.row_tile - to.group * tiling.row_tiles;
    const uint32_t row_thread = tiling.by_column_threads.quotient(thread);
    const uint32_t column_thread = thread - row_thread * tiling.column_threads;
    to.column = (int64_t(to.column_tile) * tiling.column_threads + column_thread) * width;
    const int64_t first_row = row_tile * tiling.rows_per_tile + row_thread;
    to.offset = to.group * tiling.group_numel + to.column + first_row * tiling.row_stride;
    to.step = tiling.row_threads * tiling.row_stride;
    // The last row may end before this column.
    const bool whole = to.column + (tiling.rows - 1) * tiling.row_stride + width <= tiling.group_numel;
    const int64_t tile_end = (row_tile + 1) * tiling.rows_per_tile, last = tiling.rows - !whole;
    const int64_t end = tile_end < last ? tile_end : last;
    const bool idle = row_thread >= tiling.row_threads || to.column >= tiling.row_stride || end <= first_row;
    to.rows = idle ? 0 : tiling.by_row_threads.quotient(uint32_t(end - first_row) + tiling.row_threads - 1);
    return to;
  }

  // The same once more, computed anew: what is kept through a loop takes registers there.
  DERF_THREAD static ThreadTile again(const Tiling& tiling, int width) {
    uint32_t block = blockIdx.x, thread = threadIdx.x;
    asm volatile("" : "+r"(block), "+r"(thread));
    return of(tiling, width, block, thread);
  }
};

// The channels of a thread's column.
struct Channels {
  static constexpr int64_t many = 1 << 30;  // more elements than any tile has
  int64_t first;                            // of the first element, among those of a row
  int32_t left, inner;                      // elements of the first, and of each, or `many`
  uint32_t index, count;                    // the first's among those of a parameter, and how many that has
  bool by_packets;                          // a parameter's values lie side by side, as the elements do

  DERF_THREAD Channels(const ThreadTile& tile, const Tiling& tiling, int width) {
    first = tiling.inner == 1                             ? tile.column
            : tiling.row_stride <= Tiling::most_divisible ? tiling.by_inner.quotient(uint32_t(tile.column))
                                                          : tile.column / tiling.inner;
    const int64_t elements = (first + 1) * tiling.inner - tile.column;
    left = int32_t(elements < many ? elements : many);
    inner = int32_t(tiling.inner < many ? tiling.inner : many);
    count = tiling.channels;
    index = uint32_t(first);
    if (tiling.merged_rows > 1) {
      index -= tiling.by_channels.quotient(index) * count;
    }
    by_packets = inner == 1 && count % width == 0;
  }

  template <class From>
  DERF_THREAD bool takes_packets(const From* from, int piece) const {
    return by_packets && reinterpret_cast<uintptr_t>(from) % (piece * sizeof(From)) == 0;
  }

  // From a parameter's values, which begin at `from`, those of n neighbouring elements.
  template <class From, class Number, int n>
  DERF_THREAD void take(const From* from, Number (&values)[n]) const {
    constexpr int piece = n < 16 / int(sizeof(From)) ? n : 16 / int(sizeof(From));
    from += index;
    if (n > 1 && takes_packets(from, piece)) {
#pragma unroll
      for (int k = 0; k < n; k += piece) {
        Numbers<From, piece> some;
        widen<From, piece>(load<From, piece>(from + k), some);
#pragma unroll
        for (int i = 0; i < piece; ++i) {
          values[k + i] = some[i];
        }
      }
      return;
    }
    int32_t elements_left = left;
    uint32_t channels_left = count - index;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      values[i] = widen(*from);
      if (i + 1 < n && --elements_left == 0) {
        elements_left = inner;
        ++from;
        if (--channels_left == 0) {
          channels_left = count;
          from -= count;
        }
      }
    }
  }

  // The values of a parameter for n neighbouring elements; `absent` where there is none. T is the type of input, the
  // parameter's is that or float.
  template <class T, int n>
  DERF_THREAD Fetched<T, n> fetch(const ChannelParameter& parameter, uint32_t group, opmath_t<T> absent) const {
    Fetched<T, n> to;
    const int64_t begin = group * parameter.group_stride;
    if (!parameter.data) {
      to.fill(absent);
    } else if (sizeof(T) == 2 && parameter.type == Type::f32) {
      take(static_cast<const float*>(parameter.data) + begin, to.values);
    } else if (const T* from = static_cast<const T*>(parameter.data) + begin;
               n == 1 || takes_packets(from + index, n)) {
      to.fetch_packet(from + index);
    } else {
      take(from, to.values);
    }
    return to;
  }
};

}  // namespace derf::cuda
