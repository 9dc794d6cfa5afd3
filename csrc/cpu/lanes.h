// Loads and stores: the one place that knows element types, tails and cache policy. Kernels see Vec<Scalar> alone.
#pragma once
#include <algorithm>
#include <tuple>

#include "../functions/vector.h"

namespace derf::CPU_CAPABILITY {

template <class T>
using ScalarOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// What a loop takes at a time: two vectors, whose chains of steps overlap. Without vector instructions nothing would,
// and one is compiled in half the time; but a vector of a 16-bit type widens to two.
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
template <class T>
constexpr size_t vectors = 2;
#else
template <class T>
constexpr size_t vectors = sizeof(T) == 2 ? 2 : 1;
#endif
template <class T>
using Lanes = Pack<ScalarOf<T>, vectors<T>>;
template <class T>
constexpr int64_t lanes = vectors<T> * Vec<ScalarOf<T>>::size();

template <class T>
inline Lanes<T> broadcast(ScalarOf<T> x) {
  Lanes<T> out;
  out.fill(Vec<ScalarOf<T>>(x));
  return out;
}

// Between a 16-bit type and float, rounding to nearest, ties to even.
inline auto widen(Vec<c10::Half> x) { return at::vec::convert_half_float(x); }
inline auto widen(Vec<c10::BFloat16> x) { return at::vec::convert_bfloat16_float(x); }

template <class T>
inline Vec<T> narrow(Vec<float> low, Vec<float> high) {
  if constexpr (std::is_same_v<T, c10::Half>) {
    return at::vec::convert_float_half(low, high);
  } else {
#if defined(CPU_CAPABILITY_AVX512)
    // Half the instructions of at::vec's. (vcvtne2ps2bf16 is one, but turns denormal numbers into 0.)
    const auto rounded = [](__m512 x) {
      const __m512i bits = _mm512_castps_si512(x);
      const __m512i last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
      const __m512i half = _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff));
      return _mm512_mask_add_epi32(_mm512_set1_epi32(0x7fc00000), _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), bits, half);
    };
    alignas(64) static constexpr auto odd = [] {
      std::array<uint16_t, 32> index{};
      for (size_t i = 0; i < index.size(); ++i) {
        index[i] = 2 * i + 1;
      }
      return index;
    }();
    return _mm512_permutex2var_epi16(rounded(low), _mm512_load_si512(odd.data()), rounded(high));
#else
    return at::vec::convert_float_bfloat16(low, high);
#endif
  }
}

// A store that leaves the cache as it is; p is aligned to a vector.
template <class T>
inline void stream(T* p, Vec<T> x) {
#if defined(CPU_CAPABILITY_AVX512)
  if constexpr (std::is_same_v<T, double>) {
    _mm512_stream_pd(p, x);
  } else if constexpr (std::is_same_v<T, float>) {
    _mm512_stream_ps(p, x);
  } else {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), x);
  }
#elif defined(CPU_CAPABILITY_AVX2)
  if constexpr (std::is_same_v<T, double>) {
    _mm256_stream_pd(p, x);
  } else if constexpr (std::is_same_v<T, float>) {
    _mm256_stream_ps(p, x);
  } else {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), x);
  }
#else
  x.store(p);
#endif
}

// How many of n elements are in the stretch of `size` that begins at `from`.
inline int64_t part(int64_t n, int64_t from, int64_t size) { return std::clamp<int64_t>(n - from, 0, size); }

// n <= lanes<T> elements at p, of type From (T, or float beside a 16-bit T); what lies past them is 0.
template <class T, class From>
inline __attribute__((always_inline)) Lanes<T> load(const From* p, int64_t n) {
  constexpr int64_t width = Vec<From>::size();
  Lanes<T> out;
#pragma GCC unroll 4
  for (int64_t i = 0; i < lanes<T>; i += width) {
    const auto x = Vec<From>::loadu(p + i, n == lanes<T> ? width : part(n, i, width));
    const size_t k = i / Vec<ScalarOf<T>>::size();
    if constexpr (sizeof(From) == 2) {
      std::tie(out[k], out[k + 1]) = widen(x);
    } else {
      out[k] = x;
    }
  }
  return out;
}

// Writes past the cache where `bypass_cache` is set and p allows it; finish with `drain`.
template <class T>
inline __attribute__((always_inline)) void store(T* p, const Lanes<T>& values, int64_t n, bool bypass_cache) {
  constexpr int64_t width = Vec<T>::size();
#pragma GCC unroll 4
  for (int64_t i = 0; i < lanes<T>; i += width) {
    const size_t k = i / Vec<ScalarOf<T>>::size();
    Vec<T> x;
    if constexpr (sizeof(T) == 2) {
      x = narrow<T>(values[k], values[k + 1]);
    } else {
      x = values[k];
    }
    if (n == lanes<T> && bypass_cache && reinterpret_cast<uintptr_t>(p + i) % sizeof(x) == 0) {
      stream(p + i, x);
    } else {
      x.store(p + i, n == lanes<T> ? width : part(n, i, width));
    }
  }
}

// Makes the writes past the cache visible to other threads.
inline void drain([[maybe_unused]] bool bypass_cache) {
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
  if (bypass_cache) {
    _mm_sfence();
  }
#endif
}

// The first n of all lanes, the rest 0.
template <class T>
inline Lanes<T> keep_first(const Lanes<T>& values, int64_t n) {
  using V = Vec<ScalarOf<T>>;
  Lanes<T> out;
  for (size_t k = 0; k < values.size(); ++k) {
    out[k] = V::set(V(0), values[k], part(n, k * V::size(), V::size()));
  }
  return out;
}

// The sum of all lanes, in eight sums side by side: one alone would be a long chain of dependent additions.
template <class T>
inline double sum(const Lanes<T>& values) {
  using V = Vec<ScalarOf<T>>;
  ScalarOf<T> x[lanes<T>];
  for (size_t k = 0; k < values.size(); ++k) {
    values[k].store(x + k * V::size());
  }
  double part[8] = {};
  for (int64_t i = 0; i < lanes<T>; ++i) {
    part[i % 8] += x[i];
  }
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

}  // namespace derf::CPU_CAPABILITY
