// vector.h for AVX2 with FMA and F16C.
#pragma once
#include <ATen/cpu/vec/vec.h>
#include <torch/version.h>

namespace derf::CPU_CAPABILITY {

template <class Scalar>
using Vec = at::vec::Vectorized<Scalar>;
using at::vec::fmadd;
#if TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 9
inline Vec<float> fnmadd(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fnmadd_ps(a, b, c); }
inline Vec<double> fnmadd(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fnmadd_pd(a, b, c); }
#else
using at::vec::fnmadd;
#endif

template <class Scalar>
inline Vec<Scalar> magnitude(Vec<Scalar> x) {
  return x.abs();
}

template <class Scalar>
inline Vec<Scalar> at_most(Vec<Scalar> x, Scalar limit) {
  return at::vec::clamp_max(x, Vec<Scalar>(limit));
}

template <class Scalar>
inline Vec<Scalar> at_most(Vec<Scalar> x, Vec<Scalar> limit) {
  return at::vec::clamp_max(x, limit);
}

// Integers have more execution ports, and positive floats are ordered as their bits are.
inline Vec<float> number_at_most(Vec<float> x, float limit) {
  return _mm256_castsi256_ps(_mm256_min_epi32(_mm256_castps_si256(x), _mm256_castps_si256(_mm256_set1_ps(limit))));
}

template <class Scalar>
inline Vec<Scalar> limited(Vec<Scalar> x, Scalar limit) {
  return at::vec::clamp(x, Vec<Scalar>(-limit), Vec<Scalar>(limit));
}

template <class Scalar>
inline Vec<Scalar> with_sign_of(Vec<Scalar> x, Vec<Scalar> sign) {
  return x ^ (sign & Vec<Scalar>(Scalar(-0.)));
}

template <class Scalar>
inline Vec<Scalar> select_greater(Vec<Scalar> a, Vec<Scalar> b, Vec<Scalar> x, Vec<Scalar> y) {
  return Vec<Scalar>::blendv(y, x, a > b);
}

inline bool any_greater(Vec<float> a, Vec<float> b) { return _mm256_movemask_ps(a > b); }
inline bool any_greater(Vec<double> a, Vec<double> b) { return _mm256_movemask_pd(a > b); }

template <class Scalar>
inline Vec<Scalar> square_root(Vec<Scalar> x) {
  return x.sqrt();
}

inline Vec<float> reciprocal_of_normal(Vec<float> x) {  // 11 bits, and a step that doubles them
  const Vec<float> guess = _mm256_rcp_ps(x);
  return fmadd(fnmadd(x, guess, Vec<float>(1)), guess, guess);
}
inline Vec<double> reciprocal_of_normal(Vec<double> x) { return Vec<double>(1) / x; }

// y = 2^n m, 1 <= m < 2, y being 1 at least: n, 128 where y is infinite, and m.
constexpr int pieces_in_register = 8;
inline Vec<float> exponent_of(Vec<float> y) {
  const __m256i magic = _mm256_castps_si256(_mm256_set1_ps(0x1.8p23f));
  const __m256i n = _mm256_add_epi32(_mm256_srli_epi32(_mm256_castps_si256(y), 23), magic);
  return _mm256_sub_ps(_mm256_castsi256_ps(n), _mm256_set1_ps(0x1.8p23f + 127));
}
inline Vec<float> mantissa_of(Vec<float> y) {
  const __m256 bits = _mm256_and_ps(y, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffff)));
  return _mm256_or_ps(bits, _mm256_set1_ps(1));
}

template <class Scalar>
inline Vec<Scalar> lookup(const Scalar (&table)[1], Vec<Scalar>) {
  return Vec<Scalar>(table[0]);
}
inline Vec<float> lookup(const float (&table)[8], Vec<float> rounded) {
  return _mm256_permutevar8x32_ps(_mm256_load_ps(table), _mm256_castps_si256(rounded));
}

template <int parts>
inline Vec<float> times_power_of_two(Vec<float> x, Vec<float> rounded) {
  static_assert(parts == 1 || parts == 8);
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(rounded), parts == 1 ? 23 : 20);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n));
}
template <int parts>
inline Vec<double> times_power_of_two(Vec<double> x, Vec<double> rounded) {
  static_assert(parts == 1);
  return _mm256_castsi256_pd(
      _mm256_add_epi64(_mm256_castpd_si256(x), _mm256_slli_epi64(_mm256_castpd_si256(rounded), 52)));
}

template <class Scalar>
struct LaneMask {
  Vec<Scalar> dead;  // all bits of a lane
};
inline LaneMask<float> not_equal(Vec<float> x, float from) {  // integers compare on more ports
  const __m256i limit = _mm256_castps_si256(_mm256_set1_ps(from));
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(x), limit))};
}
inline LaneMask<double> not_equal(Vec<double> x, double from) { return {x == Vec<double>(from)}; }
inline Vec<float> select_or_zero(LaneMask<float> alive, Vec<float> x) { return _mm256_andnot_ps(alive.dead, x); }
inline Vec<double> select_or_zero(LaneMask<double> alive, Vec<double> x) { return _mm256_andnot_pd(alive.dead, x); }

// An interleaving with zeros widens a bfloat16, and nothing has to cross between the halves of a register.
inline std::tuple<Vec<float>, Vec<float>> widen(Vec<c10::BFloat16> x) {
  const __m256i zero = _mm256_setzero_si256();
  return {_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, x)), _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, x))};
}
inline auto widen(Vec<c10::Half> x) { return at::vec::convert_half_float(x); }

template <class T>
inline void to_order_of([[maybe_unused]] Vec<float>& low, [[maybe_unused]] Vec<float>& high) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const __m256 first = low;
    low = _mm256_permute2f128_ps(first, high, 0x20);
    high = _mm256_permute2f128_ps(first, high, 0x31);
  }
}
template <class T>
inline void to_plain_order(Vec<float>& low, Vec<float>& high) {
  to_order_of<T>(low, high);  // its own inverse
}

template <class T, bool any_nan>
inline Vec<T> narrow(Vec<float> low, Vec<float> high) {
  if constexpr (std::is_same_v<T, c10::Half>) {
    return at::vec::convert_float_half(low, high);
  } else {
    const auto rounded = [](__m256 x) {
      const __m256i bits = _mm256_castps_si256(x);
      const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
      __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff)));
      if constexpr (any_nan) {
        const __m256i unordered = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        sum = _mm256_blendv_epi8(sum, _mm256_set1_epi32(0x7fc00000), unordered);
      }
      return _mm256_srli_epi32(sum, 16);
    };
    return _mm256_packus_epi32(rounded(low), rounded(high));
  }
}

inline __m128i nearest_int8(Vec<float> x) {
  const __m256 is_number = _mm256_cmp_ps(x, x, _CMP_ORD_Q), at_most_127 = _mm256_min_ps(x, _mm256_set1_ps(127));
  const __m256i n = _mm256_and_si256(_mm256_cvtps_epi32(at_most_127), _mm256_castps_si256(is_number));
  const __m128i pairs = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
  return _mm_packs_epi16(pairs, pairs);
}
inline __m128i nearest_int8(Vec<double> x) {
  const __m256d is_number = _mm256_cmp_pd(x, x, _CMP_ORD_Q), at_most_127 = _mm256_min_pd(x, _mm256_set1_pd(127));
  const __m128i n = _mm256_cvtpd_epi32(_mm256_and_pd(at_most_127, is_number));
  const __m128i pairs = _mm_packs_epi32(n, n);
  return _mm_packs_epi16(pairs, pairs);
}
template <class Scalar, class Bits>
inline __m128i lowest_bytes(Bits x) {
  constexpr bool wide = sizeof(Scalar) == 8;
  const __m256i order = wide ? _mm256_set1_epi64x(0x0800) : _mm256_set1_epi64x(0x0c080400);  // within each half
  const __m256i bytes = _mm256_shuffle_epi8(std::bit_cast<__m256i>(x), order);
  const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
  return wide ? _mm_unpacklo_epi16(low, high) : _mm_unpacklo_epi32(low, high);
}

inline void stream(float* p, Vec<float> x) { _mm256_stream_ps(p, x); }
inline void stream(double* p, Vec<double> x) { _mm256_stream_pd(p, x); }
template <class T>
inline void stream(T* p, Vec<T> x) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), x);
}
inline void drain_streams() { _mm_sfence(); }

}  // namespace derf::CPU_CAPABILITY
