// Loads and stores: the one place that knows element types, tails and cache policy. Kernels see Vec<Scalar> alone.
#pragma once
#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

#include "../functions/vector.h"
#include "tasks.h"

namespace derf::CPU_CAPABILITY {

template <class T>
using opmath_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

// A chunk is what a loop takes of a row at a time: two vectors, whose chains of steps overlap. (A vector of a 16-bit
// type widens to two; four gain little on long rows and lose much on short ones.)
constexpr size_t vectors = 2;
template <class T>
using Chunk = Pack<opmath_t<T>, vectors>;
// Rows side by side, the same channels of each: more chains that overlap, and one load of weight and bias.
constexpr int rows_per_step = 2;
template <class T, int rows>
using Block = Pack<opmath_t<T>, rows * vectors>;
template <class T>
constexpr int64_t chunk_size = vectors * Vec<opmath_t<T>>::size();

// Row r of a block of vectors, or of masks.
template <class Each, size_t n>
inline __attribute__((always_inline)) Several<Each, vectors> row(const Several<Each, n>& block, int r) {
  Several<Each, vectors> out;
  for (size_t k = 0; k < vectors; ++k) {  // not std::copy_n: GCC would copy through memory
    out[k] = block[r * vectors + k];
  }
  return out;
}
template <class Each, size_t n>
inline __attribute__((always_inline)) void set_row(Several<Each, n>& block, int r,
                                                   const Several<Each, vectors>& values) {
  for (size_t k = 0; k < vectors; ++k) {
    block[r * vectors + k] = values[k];
  }
}

template <class T>
inline Chunk<T> broadcast(opmath_t<T> x) {
  return broadcast_pack<opmath_t<T>, vectors>(x);
}

// A parameter that all elements share, in another unit. NaN has its usual bits, see `narrow`.
template <class T>
inline Vec<opmath_t<T>> shared_parameter(double x, double unit = 1) {
  const auto scaled = static_cast<opmath_t<T>>(x * unit);
  return Vec<opmath_t<T>>(scaled == scaled ? scaled : std::numeric_limits<opmath_t<T>>::quiet_NaN());
}

// How many of n elements are in the stretch of `size` that begins at `from`.
inline int64_t part(int64_t n, int64_t from, int64_t size) { return std::clamp<int64_t>(n - from, 0, size); }

// n <= chunk_size<T> elements at p, of type From (T, or float beside a 16-bit T); what lies past them is 0.
template <class T, class From>
inline __attribute__((always_inline)) Chunk<T> load(const From* p, int64_t n) {
  constexpr int64_t width = Vec<From>::size();
  Chunk<T> out;
#pragma GCC unroll 4
  for (int64_t i = 0; i < chunk_size<T>; i += width) {
    const auto x = Vec<From>::loadu(p + i, n == chunk_size<T> ? width : part(n, i, width));
    const size_t k = i / Vec<opmath_t<T>>::size();
    if constexpr (sizeof(From) == 2) {
      std::tie(out[k], out[k + 1]) = widen(x);
    } else {
      out[k] = x;
    }
  }
  if constexpr (sizeof(T) == 2 && sizeof(From) != 2) {
    for (size_t k = 0; k < out.size(); k += 2) {
      to_order_of<T>(out[k], out[k + 1]);
    }
  }
  return out;
}

// Whether large results had better go past the cache. A line that is written half past it and half through it, as where
// stretches meet, costs hundreds of cycles: so stretches of whole lines alone, or of very many.
template <class T>
inline bool bypasses_cache(bool out_of_cache, const Shape& shape) {
  const int64_t bytes = (shape.in_rows() ? shape.channels : shape.inner) * int64_t(sizeof(T));
  return out_of_cache && (bytes % 64 == 0 || bytes > 1 << 16);
}

// Writes past the cache where `bypass_cache` is set and p allows it; finish with `store_fence`. For `any_nan` see
// `narrow`.
template <bool any_nan, class T>
inline __attribute__((always_inline)) void store(T* p, const Chunk<T>& values, int64_t n, bool bypass_cache) {
  constexpr int64_t width = Vec<T>::size();
#pragma GCC unroll 4
  for (int64_t i = 0; i < chunk_size<T>; i += width) {
    const size_t k = i / Vec<opmath_t<T>>::size();
    Vec<T> x;
    if constexpr (sizeof(T) == 2) {
      x = narrow<T, any_nan>(values[k], values[k + 1]);
    } else {
      x = values[k];
    }
    if (n == chunk_size<T> && bypass_cache && reinterpret_cast<uintptr_t>(p + i) % sizeof(x) == 0) {
      stream(p + i, x);
    } else {
      x.store(p + i, n == chunk_size<T> ? width : part(n, i, width));
    }
  }
}

// The same for numbers of type To: T, or float beside a 16-bit T. Gives them as they are written.
template <bool any_nan, class T, class To>
inline __attribute__((always_inline)) Chunk<T> store_rounded(To* p, Chunk<T> values, int64_t n, bool bypass_cache) {
  if constexpr (sizeof(To) == 2) {
    store<any_nan>(p, values, n, bypass_cache);
    for (size_t k = 0; k < values.size(); k += 2) {
      std::tie(values[k], values[k + 1]) = widen(narrow<To, any_nan>(values[k], values[k + 1]));
    }
  } else {
    Chunk<T> plain = values;
    if constexpr (sizeof(T) == 2) {
      for (size_t k = 0; k < plain.size(); k += 2) {
        to_plain_order<T>(plain[k], plain[k + 1]);
      }
    }
    store<any_nan>(p, plain, n, bypass_cache);
  }
  return values;
}

// n <= chunk_size<T> floats (doubles) beside T's, in plain order.
template <class T>
inline __attribute__((always_inline)) void store_plain(opmath_t<T>* p, Chunk<T> values, int64_t n) {
  constexpr int64_t width = Vec<opmath_t<T>>::size();
  if constexpr (sizeof(T) == 2) {
    for (size_t k = 0; k < values.size(); k += 2) {
      to_plain_order<T>(values[k], values[k + 1]);
    }
  }
  for (size_t k = 0; k < values.size(); ++k) {
    const int64_t at = int64_t(k) * width;
    values[k].store(p + at, n == chunk_size<T> ? width : part(n, at, width));
  }
}

// Asks for what a step loads from p on: a processor foresees few streams, and not beyond a page. The second nearest
// cache is near enough; in the nearest one it would drive out what is in use.
constexpr int nearest_cache = 3, next_cache = 2;
template <int cache = next_cache, class T>
inline __attribute__((always_inline)) void prefetch(const T* p) {
  for (int64_t line = 0; line < chunk_size<T>; line += 64 / int64_t(sizeof(T))) {
    __builtin_prefetch(p + line, 0, cache);
  }
}

// Makes the writes past the cache visible to other threads.
inline void store_fence(bool bypass_cache) {
  if (bypass_cache) {
    drain_streams();
  }
}

// The first n of all lanes, the rest 0.
template <class T>
inline Chunk<T> zero_tail(const Chunk<T>& values, int64_t n) {
  using Scalar = opmath_t<T>;
  alignas(64) static constexpr auto ones = [] {
    std::array<Scalar, chunk_size<T>> all{};
    all.fill(1);
    return all;
  }();
  return each([](Vec<Scalar> x, Vec<Scalar> one) { return select_or_zero(not_equal(one, Scalar(0)), x); }, values,
              load<T>(ones.data(), n));
}

// The sum of all lanes, in four sums side by side: one alone would be a long chain of dependent additions.
template <class T>
inline double sum(Vec<opmath_t<T>> values) {
  opmath_t<T> x[Vec<opmath_t<T>>::size()];
  values.store(x);
  double part[4] = {};
  for (int i = 0; i < Vec<opmath_t<T>>::size(); ++i) {
    part[i % 4] += x[i];
  }
  return (part[0] + part[1]) + (part[2] + part[3]);
}
template <class T>
inline double sum(const Chunk<T>& values) {
  double total = 0;
  for (const auto& each_values : values) {
    total += sum<T>(each_values);
  }
  return total;
}

}  // namespace derf::CPU_CAPABILITY
