// What a function needs beyond arithmetic, for the vectors of one instruction set.
// Everything that is compiled once per instruction set stands in derf::CPU_CAPABILITY (DEFAULT, AVX2 or AVX512),
// lest the linker put AVX-512 code where every processor runs it.
#pragma once
#include <ATen/cpu/vec/vec.h>

#include <array>
#include <cstdint>
#include <type_traits>

namespace derf::CPU_CAPABILITY {

template <class Scalar>
using Vec = at::vec::Vectorized<Scalar>;

template <class Scalar>
using IntOf = std::conditional_t<sizeof(Scalar) == 8, int64_t, int32_t>;

// Several vectors that go through a formula side by side: a processor looks only so far ahead, and a polynomial is one
// long chain of dependent steps.
template <class Scalar, size_t n>
using Pack = std::array<Vec<Scalar>, n>;

// op on the first vectors of all arguments, on the second ones, ...
template <class Op, class First, size_t n, class... Others>
inline __attribute__((always_inline)) auto each(const Op& op, const std::array<First, n>& first,
                                                const std::array<Others, n>&... others) {
  std::array<decltype(op(first[0], others[0]...)), n> out;
#pragma GCC unroll 4
  for (size_t i = 0; i < n; ++i) {
    out[i] = op(first[i], others[i]...);
  }
  return out;
}

// x + round_magic has the nearest whole number to x in its lowest bits, for |x| < 2^22 (float) or 2^51 (double).
template <class Scalar>
constexpr Scalar round_magic = sizeof(Scalar) == 8 ? Scalar(0x1.8p52) : Scalar(0x1.8p23);

// table[k], k the whole number in the lowest bits of `rounded`, modulo size (a power of two).
template <class Scalar, int size>
inline Vec<Scalar> lookup(const Scalar (&table)[size], Vec<Scalar> rounded) {
  static_assert((size & (size - 1)) == 0);
#if defined(CPU_CAPABILITY_AVX512)
  if constexpr (std::is_same_v<Scalar, float> && size == 16) {  // from two registers it would cost twice as much
    return _mm512_permutexvar_ps(_mm512_castps_si512(rounded), _mm512_load_ps(table));
  } else if constexpr (std::is_same_v<Scalar, double> && size == 16) {
    return _mm512_permutex2var_pd(_mm512_load_pd(table), _mm512_castpd_si512(rounded), _mm512_load_pd(table + 8));
  }
#elif defined(CPU_CAPABILITY_AVX2)
  if constexpr (std::is_same_v<Scalar, float> && size == 8) {
    return _mm256_permutevar8x32_ps(_mm256_load_ps(table), _mm256_castps_si256(rounded));
  }
#endif
  IntOf<Scalar> index[Vec<Scalar>::size()];
  Scalar found[Vec<Scalar>::size()];
  rounded.store(index);
  for (int i = 0; i < Vec<Scalar>::size(); ++i) {
    found[i] = table[index[i] & (size - 1)];
  }
  return Vec<Scalar>::loadu(found);
}

// x * 2^n, n the whole number in the lowest bits of `rounded`; x and the result normal.
template <class Scalar>
inline Vec<Scalar> scale_by_power_of_two(Vec<Scalar> x, Vec<Scalar> rounded) {
  using Int = Vec<IntOf<Scalar>>;
  constexpr int mantissa_bits = sizeof(Scalar) == 8 ? 52 : 23;
  const Int n = at::vec::cast<IntOf<Scalar>>(rounded) << Int(mantissa_bits);
  return at::vec::cast<Scalar>(at::vec::cast<IntOf<Scalar>>(x) + n);
}

// The smaller of |x| and limit; limit where x is NaN. (Positive floats are ordered as their bits are.)
template <class Scalar>
inline Vec<Scalar> magnitude_up_to(Vec<Scalar> x, Scalar limit) {
  using Int = IntOf<Scalar>;
  return at::vec::cast<Scalar>(at::vec::minimum(at::vec::cast<Int>(x.abs()), at::vec::cast<Int>(Vec<Scalar>(limit))));
}

// x limited to [-limit, limit]; NaN where x is NaN.
template <class Scalar>
inline Vec<Scalar> limited(Vec<Scalar> x, Scalar limit) {
#if defined(CPU_CAPABILITY_AVX512)
  constexpr int pick_by_first = 0xca;  // bitwise: first ? second : third
  const auto magnitude = at::vec::clamp_max(x.abs(), Vec<Scalar>(limit));
  if constexpr (std::is_same_v<Scalar, float>) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(x),
                                                         _mm512_castps_si512(magnitude), pick_by_first));
  } else {
    return _mm512_castsi512_pd(_mm512_ternarylogic_epi64(_mm512_set1_epi64(INT64_MIN), _mm512_castpd_si512(x),
                                                         _mm512_castpd_si512(magnitude), pick_by_first));
  }
#else
  return at::vec::clamp(x, Vec<Scalar>(-limit), Vec<Scalar>(limit));
#endif
}

// A lane each of true or false, and what is done with it: AVX-512 has registers for that, others use all bits of a
// lane.
#if defined(CPU_CAPABILITY_AVX512)
template <class Scalar>
using Mask = std::conditional_t<sizeof(Scalar) == 8, __mmask8, __mmask16>;
inline __mmask16 greater(Vec<float> a, Vec<float> b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline __mmask8 greater(Vec<double> a, Vec<double> b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
inline __mmask16 equal(Vec<float> a, Vec<float> b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
inline __mmask8 equal(Vec<double> a, Vec<double> b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
inline Vec<float> zero_where(__mmask16 mask, Vec<float> x) { return _mm512_mask_mov_ps(x, mask, _mm512_setzero_ps()); }
inline Vec<double> zero_where(__mmask8 mask, Vec<double> x) { return _mm512_mask_mov_pd(x, mask, _mm512_setzero_pd()); }
#else
template <class Scalar>
using Mask = Vec<Scalar>;
template <class Scalar>
inline Vec<Scalar> greater(Vec<Scalar> a, Vec<Scalar> b) {
  return a > b;
}
template <class Scalar>
inline Vec<Scalar> equal(Vec<Scalar> a, Vec<Scalar> b) {
  return a == b;
}
template <class Scalar>
inline Vec<Scalar> zero_where(Vec<Scalar> mask, Vec<Scalar> x) {
  return Vec<Scalar>::blendv(x, Vec<Scalar>(0), mask);
}
#endif

}  // namespace derf::CPU_CAPABILITY
