// Loads and stores: the one place that knows element types, tails and cache policy. Kernels see Vec<Scalar> alone.
#pragma once
#include <algorithm>
#include <limits>
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

// Between a 16-bit type and float, rounding to nearest, ties to even. The floats of a vector of bfloat16 lie in two
// vectors in an order of their own, four by four in turn (without vector instructions in plain order): so an
// interleaving with zeros widens, and nothing has to cross between the parts of a register.
inline auto widen(Vec<c10::Half> x) { return at::vec::convert_half_float(x); }

inline std::tuple<Vec<float>, Vec<float>> widen(Vec<c10::BFloat16> x) {
#if defined(CPU_CAPABILITY_AVX512)
  const __m512i zero = _mm512_setzero_si512();
  return {_mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, x)), _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, x))};
#elif defined(CPU_CAPABILITY_AVX2)
  const __m256i zero = _mm256_setzero_si256();
  return {_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, x)), _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, x))};
#else
  return at::vec::convert_bfloat16_float(x);
#endif
}

// Floats in plain order put into the order in which T widens, and back.
template <class T>
inline void to_order_of(Vec<float>& low, Vec<float>& high) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
#if defined(CPU_CAPABILITY_AVX512)
    const __m512 first = low;
    low = _mm512_shuffle_f32x4(first, high, 0x88);
    high = _mm512_shuffle_f32x4(first, high, 0xdd);
#elif defined(CPU_CAPABILITY_AVX2)
    const __m256 first = low;
    low = _mm256_permute2f128_ps(first, high, 0x20);
    high = _mm256_permute2f128_ps(first, high, 0x31);
#endif
  }
}
template <class T>
inline void to_plain_order([[maybe_unused]] Vec<float>& low, [[maybe_unused]] Vec<float>& high) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
#if defined(CPU_CAPABILITY_AVX512)
    const __m512 even = _mm512_shuffle_f32x4(low, high, 0x44), odd = _mm512_shuffle_f32x4(low, high, 0xee);
    low = _mm512_shuffle_f32x4(even, even, 0xd8);
    high = _mm512_shuffle_f32x4(odd, odd, 0xd8);
#elif defined(CPU_CAPABILITY_AVX2)
    to_order_of<T>(low, high);
#endif
  }
}

// A NaN of float32 may have all bits set, and rounding would carry over them: such a one is to be excluded, or
// `any_nan` to be said.
template <class T, bool any_nan>
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
      if constexpr (any_nan) {
        return _mm512_mask_add_epi32(_mm512_set1_epi32(0x7fc00000), _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), bits, half);
      } else {
        return _mm512_add_epi32(bits, half);
      }
    };
    alignas(64) static constexpr auto upper_halves = [] {  // in plain order
      std::array<uint16_t, 32> index{};
      for (size_t i = 0; i < index.size(); ++i) {
        index[i] = i / 8 * 8 + i % 4 * 2 + 1 + (i % 8 >= 4 ? 32 : 0);
      }
      return index;
    }();
    return _mm512_permutex2var_epi16(rounded(low), _mm512_load_si512(upper_halves.data()), rounded(high));
#elif defined(CPU_CAPABILITY_AVX2)
    const auto rounded = [](__m256 x) {
      const __m256i bits = _mm256_castps_si256(x);
      const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
      __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff)));
      if constexpr (any_nan) {
        const __m256 unordered = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
        sum = _mm256_blendv_epi8(sum, _mm256_set1_epi32(0x7fc00000), _mm256_castps_si256(unordered));
      }
      return _mm256_srli_epi32(sum, 16);
    };
    return _mm256_packus_epi32(rounded(low), rounded(high));
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

// A parameter that all elements share; NaN has its usual bits then, see `narrow`.
template <class T>
inline Vec<ScalarOf<T>> shared_parameter(double x) {
  return Vec<ScalarOf<T>>(x == x ? static_cast<ScalarOf<T>>(x) : std::numeric_limits<ScalarOf<T>>::quiet_NaN());
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
  if constexpr (sizeof(T) == 2 && sizeof(From) != 2) {
    for (size_t k = 0; k < out.size(); k += 2) {
      to_order_of<T>(out[k], out[k + 1]);
    }
  }
  return out;
}

// Writes past the cache where `bypass_cache` is set and p allows it; finish with `drain`. For `any_nan` see `narrow`.
template <bool any_nan, class T>
inline __attribute__((always_inline)) void store(T* p, const Lanes<T>& values, int64_t n, bool bypass_cache) {
  constexpr int64_t width = Vec<T>::size();
#pragma GCC unroll 4
  for (int64_t i = 0; i < lanes<T>; i += width) {
    const size_t k = i / Vec<ScalarOf<T>>::size();
    Vec<T> x;
    if constexpr (sizeof(T) == 2) {
      x = narrow<T, any_nan>(values[k], values[k + 1]);
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

// n <= lanes<T> floats (doubles) beside T's, in plain order.
template <class T>
inline __attribute__((always_inline)) void store_plain(ScalarOf<T>* p, Lanes<T> values, int64_t n) {
  constexpr int64_t width = Vec<ScalarOf<T>>::size();
  if constexpr (sizeof(T) == 2) {
    for (size_t k = 0; k < values.size(); k += 2) {
      to_plain_order<T>(values[k], values[k + 1]);
    }
  }
  for (size_t k = 0; k < values.size(); ++k) {
    const int64_t at = int64_t(k) * width;
    values[k].store(p + at, n == lanes<T> ? width : part(n, at, width));
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
  using Scalar = ScalarOf<T>;
  alignas(64) static constexpr auto ones = [] {
    std::array<Scalar, lanes<T>> all{};
    all.fill(1);
    return all;
  }();
  return each([](Vec<Scalar> x, Vec<Scalar> one) { return keep(differs(one, Scalar(0)), x); }, values,
              load<T>(ones.data(), n));
}

// The sum of all lanes, in four sums side by side: one alone would be a long chain of dependent additions.
template <class T>
inline double sum(Vec<ScalarOf<T>> values) {
  ScalarOf<T> x[Vec<ScalarOf<T>>::size()];
  values.store(x);
  double part[4] = {};
  for (int i = 0; i < Vec<ScalarOf<T>>::size(); ++i) {
    part[i % 4] += x[i];
  }
  return (part[0] + part[1]) + (part[2] + part[3]);
}
template <class T>
inline double sum(const Lanes<T>& values) {
  double total = 0;
  for (const auto& each_values : values) {
    total += sum<T>(each_values);
  }
  return total;
}

}  // namespace derf::CPU_CAPABILITY
