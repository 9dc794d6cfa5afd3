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

using at::vec::fmadd;
using at::vec::fnmadd;

template <class Scalar>
using IntOf = std::conditional_t<sizeof(Scalar) == 8, int64_t, int32_t>;

// Several vectors that go through a formula side by side: a processor looks only so far ahead, and a polynomial is one
// long chain of dependent steps.
template <class Scalar, size_t n>
using Pack = std::array<Vec<Scalar>, n>;

template <class Scalar, size_t n>
inline Pack<Scalar, n> broadcast_pack(Scalar x) {
  Pack<Scalar, n> out;
  out.fill(Vec<Scalar>(x));
  return out;
}

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

// table[0]: no table.
template <class Scalar>
inline Vec<Scalar> lookup(const Scalar (&table)[1], Vec<Scalar>) {
  return Vec<Scalar>(table[0]);
}

// x * 2^(n / parts), n the whole number in the lowest bits of `rounded`, for an x from a table of `parts` entries that
// has n's remainder already; x and the result normal.
template <int parts, class Scalar>
inline Vec<Scalar> times_power_of_two(Vec<Scalar> x, Vec<Scalar> rounded) {
  constexpr int shift = (sizeof(Scalar) == 8 ? 52 : 23) - (parts == 16 ? 4 : parts == 8 ? 3 : 0);
#if defined(CPU_CAPABILITY_AVX2)
  if constexpr (std::is_same_v<Scalar, float>) {
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(rounded), shift);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n));
  }
#elif defined(CPU_CAPABILITY_AVX512)
  if constexpr (std::is_same_v<Scalar, float>) {
    const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(rounded), shift);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), n));
  }
#endif
  using Int = Vec<IntOf<Scalar>>;
  const Int n = at::vec::cast<IntOf<Scalar>>(rounded) << Int(shift);
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

// The smaller of x and limit; NaN where x is NaN.
template <class Scalar>
inline Vec<Scalar> at_most(Vec<Scalar> x, Scalar limit) {
  return at::vec::clamp_max(x, Vec<Scalar>(limit));
}

// x, with its sign changed where that of `sign` is negative.
template <class Scalar>
inline Vec<Scalar> with_sign_of(Vec<Scalar> x, Vec<Scalar> sign) {
#if defined(CPU_CAPABILITY_AVX512)
  constexpr int first_xor_both_others = 0x78;  // bitwise: first ^ (second & third)
  if constexpr (std::is_same_v<Scalar, float>) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(x), _mm512_castps_si512(sign),
                                                         _mm512_set1_epi32(INT32_MIN), first_xor_both_others));
  }
#endif
  return x ^ (sign & Vec<Scalar>(Scalar(-0.)));
}

// Which lanes are alive, and x where they are, 0 elsewhere. AVX-512 has registers for that, others use all bits of a
// lane, set where it is dead.
#if defined(CPU_CAPABILITY_AVX512)
template <class Scalar>
using Alive = std::conditional_t<sizeof(Scalar) == 8, __mmask8, __mmask16>;
inline __mmask16 differs(Vec<float> x, float from) {
  return _mm512_cmp_ps_mask(x, _mm512_set1_ps(from), _CMP_NEQ_UQ);
}
inline __mmask8 differs(Vec<double> x, double from) {
  return _mm512_cmp_pd_mask(x, _mm512_set1_pd(from), _CMP_NEQ_UQ);
}
inline Vec<float> keep(__mmask16 alive, Vec<float> x) { return _mm512_maskz_mov_ps(alive, x); }
inline Vec<double> keep(__mmask8 alive, Vec<double> x) { return _mm512_maskz_mov_pd(alive, x); }
#else
template <class Scalar>
struct Alive {
  Vec<Scalar> dead;
};
template <class Scalar>
inline Alive<Scalar> differs(Vec<Scalar> x, Scalar from) {
#if defined(CPU_CAPABILITY_AVX2)
  if constexpr (std::is_same_v<Scalar, float>) {  // integers compare on more ports
    return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(x), _mm256_castps_si256(_mm256_set1_ps(from))))};
  }
#endif
  return {x == Vec<Scalar>(from)};
}
template <class Scalar>
inline Vec<Scalar> keep(Alive<Scalar> alive, Vec<Scalar> x) {
#if defined(CPU_CAPABILITY_AVX2)
  if constexpr (std::is_same_v<Scalar, float>) {
    return _mm256_andnot_ps(alive.dead, x);
  } else {
    return _mm256_andnot_pd(alive.dead, x);
  }
#else
  return Vec<Scalar>::blendv(x, Vec<Scalar>(0), alive.dead);
#endif
}
#endif

}  // namespace derf::CPU_CAPABILITY
