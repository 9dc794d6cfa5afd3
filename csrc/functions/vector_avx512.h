// vector.h for AVX-512 (F, BW, VL, DQ).
#pragma once
#include <ATen/cpu/vec/vec.h>
#include <torch/version.h>

namespace derf::CPU_CAPABILITY {

template <class Scalar>
using Vec = at::vec::Vectorized<Scalar>;
using at::vec::fmadd;
#if TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 9
inline Vec<float> fnmadd(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fnmadd_ps(a, b, c); }
inline Vec<double> fnmadd(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fnmadd_pd(a, b, c); }
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
  return _mm512_castsi512_ps(_mm512_min_epi32(_mm512_castps_si512(x), _mm512_castps_si512(_mm512_set1_ps(limit))));
}
inline Vec<double> number_at_most(Vec<double> x, double limit) {
  return _mm512_castsi512_pd(_mm512_min_epi64(_mm512_castpd_si512(x), _mm512_castpd_si512(_mm512_set1_pd(limit))));
}

constexpr int first_xor_both_others = 0x78;  // a bitwise operation on three: first ^ (second & third)
inline Vec<float> with_sign_of(Vec<float> x, Vec<float> sign) {
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(x), _mm512_castps_si512(sign),
                                                       _mm512_set1_epi32(INT32_MIN), first_xor_both_others));
}
inline Vec<double> with_sign_of(Vec<double> x, Vec<double> sign) {
  return _mm512_castsi512_pd(_mm512_ternarylogic_epi64(_mm512_castpd_si512(x), _mm512_castpd_si512(sign),
                                                       _mm512_set1_epi64(INT64_MIN), first_xor_both_others));
}

template <class Scalar>
inline Vec<Scalar> limited(Vec<Scalar> x, Scalar limit) {
  return with_sign_of(at_most(x.abs(), limit), x);
}

inline Vec<float> select_greater(Vec<float> a, Vec<float> b, Vec<float> x, Vec<float> y) {
  return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}
inline Vec<double> select_greater(Vec<double> a, Vec<double> b, Vec<double> x, Vec<double> y) {
  return _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ), x);
}

inline bool any_greater(Vec<float> a, Vec<float> b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
inline bool any_greater(Vec<double> a, Vec<double> b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ) != 0; }

template <class Scalar>
inline Vec<Scalar> square_root(Vec<Scalar> x) {
  return x.sqrt();
}

// From 14 bits on, each step doubles them.
inline Vec<float> reciprocal_of_normal(Vec<float> x) {
  const Vec<float> guess = _mm512_rcp14_ps(x);
  return fmadd(fnmadd(x, guess, Vec<float>(1)), guess, guess);
}
inline Vec<double> reciprocal_of_normal(Vec<double> x) {
  Vec<double> guess = _mm512_rcp14_pd(x);
  guess = fmadd(fnmadd(x, guess, Vec<double>(1)), guess, guess);
  return fmadd(fnmadd(x, guess, Vec<double>(1)), guess, guess);
}

// y = 2^n m, 1 <= m < 2, y being 1 at least: n, infinite where y is, and m.
constexpr int pieces_in_register = 16;
inline Vec<float> exponent_of(Vec<float> y) { return _mm512_getexp_ps(y); }
inline Vec<float> mantissa_of(Vec<float> y) { return _mm512_getmant_ps(y, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src); }

template <class Scalar>
inline Vec<Scalar> lookup(const Scalar (&table)[1], Vec<Scalar>) {
  return Vec<Scalar>(table[0]);
}
inline Vec<float> lookup(const float (&table)[16],
                         Vec<float> rounded) {  // from two registers it would cost twice as much
  return _mm512_permutexvar_ps(_mm512_castps_si512(rounded), _mm512_load_ps(table));
}
inline Vec<double> lookup(const double (&table)[16], Vec<double> rounded) {
  return _mm512_permutex2var_pd(_mm512_load_pd(table), _mm512_castpd_si512(rounded), _mm512_load_pd(table + 8));
}

template <int parts>
inline Vec<float> times_power_of_two(Vec<float> x, Vec<float> rounded) {
  static_assert(parts == 1 || parts == 16);
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(rounded), parts == 1 ? 23 : 19);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), n));
}
template <int parts>
inline Vec<double> times_power_of_two(Vec<double> x, Vec<double> rounded) {
  static_assert(parts == 1);
  return _mm512_castsi512_pd(
      _mm512_add_epi64(_mm512_castpd_si512(x), _mm512_slli_epi64(_mm512_castpd_si512(rounded), 52)));
}

template <class Scalar>
using LaneMask = std::conditional_t<sizeof(Scalar) == 8, __mmask8, __mmask16>;
inline __mmask16 not_equal(Vec<float> x, float from) {
  return _mm512_cmp_ps_mask(x, _mm512_set1_ps(from), _CMP_NEQ_UQ);
}
inline __mmask8 not_equal(Vec<double> x, double from) {
  return _mm512_cmp_pd_mask(x, _mm512_set1_pd(from), _CMP_NEQ_UQ);
}
inline Vec<float> select_or_zero(__mmask16 alive, Vec<float> x) { return _mm512_maskz_mov_ps(alive, x); }
inline Vec<double> select_or_zero(__mmask8 alive, Vec<double> x) { return _mm512_maskz_mov_pd(alive, x); }

// An interleaving with zeros widens a bfloat16, and nothing has to cross between the quarters of a register.
inline std::tuple<Vec<float>, Vec<float>> widen(Vec<c10::BFloat16> x) {
  const __m512i zero = _mm512_setzero_si512();
  return {_mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, x)), _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, x))};
}
inline auto widen(Vec<c10::Half> x) { return at::vec::convert_half_float(x); }

template <class T>
inline void to_order_of([[maybe_unused]] Vec<float>& low, [[maybe_unused]] Vec<float>& high) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const __m512 first = low;
    low = _mm512_shuffle_f32x4(first, high, 0x88);
    high = _mm512_shuffle_f32x4(first, high, 0xdd);
  }
}
template <class T>
inline void to_plain_order([[maybe_unused]] Vec<float>& low, [[maybe_unused]] Vec<float>& high) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const __m512 even = _mm512_shuffle_f32x4(low, high, 0x44), odd = _mm512_shuffle_f32x4(low, high, 0xee);
    low = _mm512_shuffle_f32x4(even, even, 0xd8);
    high = _mm512_shuffle_f32x4(odd, odd, 0xd8);
  }
}

template <class T, bool any_nan>
inline Vec<T> narrow(Vec<float> low, Vec<float> high) {
  if constexpr (std::is_same_v<T, c10::Half>) {
    return at::vec::convert_float_half(low, high);
  } else {  // vcvtne2ps2bf16 would be one instruction, but turns denormal numbers into 0
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
    alignas(64) static constexpr auto upper_halves = [] {  // back in plain order
      std::array<uint16_t, 32> index{};
      for (size_t i = 0; i < index.size(); ++i) {
        index[i] = i / 8 * 8 + i % 4 * 2 + 1 + (i % 8 >= 4 ? 32 : 0);
      }
      return index;
    }();
    return _mm512_permutex2var_epi16(rounded(low), _mm512_load_si512(upper_halves.data()), rounded(high));
  }
}

inline __m128i nearest_int8(Vec<float> x) {
  const __mmask16 is_number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
  return _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(is_number, _mm512_min_ps(x, _mm512_set1_ps(127))));
}
inline __m128i nearest_int8(Vec<double> x) {
  const __mmask8 is_number = _mm512_cmp_pd_mask(x, x, _CMP_ORD_Q);
  return _mm256_cvtsepi32_epi8(_mm512_maskz_cvtpd_epi32(is_number, _mm512_min_pd(x, _mm512_set1_pd(127))));
}
template <class Scalar, class Bits>
inline __m128i lowest_bytes(Bits x) {
  const auto whole = std::bit_cast<__m512i>(x);
  return sizeof(Scalar) == 8 ? _mm512_cvtepi64_epi8(whole) : _mm512_cvtepi32_epi8(whole);
}

inline void stream(float* p, Vec<float> x) { _mm512_stream_ps(p, x); }
inline void stream(double* p, Vec<double> x) { _mm512_stream_pd(p, x); }
template <class T>
inline void stream(T* p, Vec<T> x) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), x);
}
inline void drain_streams() { _mm_sfence(); }

}  // namespace derf::CPU_CAPABILITY
