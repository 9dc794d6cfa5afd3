// The elementary functions of world.h for vectors and for the thread of a GPU: one text, coefficients by
// family_coefficients.py. Errors are relative: below 2^-23 (float) and 2^-52 (double) where nothing else is said.
#pragma once
#include <limits>
#include <type_traits>

#include "family_coefficients.h"

#if defined(CPU_CAPABILITY)
#include "vector.h"
#define DERF_WORLD derf::CPU_CAPABILITY
#define DERF_INLINE inline __attribute__((always_inline))
#else
#include "thread.h"
#define DERF_WORLD derf::cuda
#define DERF_INLINE DERF_THREAD
#endif

namespace DERF_WORLD {

#if defined(CPU_CAPABILITY)
template <class V>
struct NumberInVector;
template <class Scalar>
struct NumberInVector<Vec<Scalar>> {
  using type = Scalar;
};
template <class V>
using NumberIn = typename NumberInVector<V>::type;

template <class Scalar>
DERF_INLINE Bits<Scalar> shifted_right(Bits<Scalar> x, int count) {  // zeros come in
  using Unsigned =
      typename NativeVector<std::conditional_t<sizeof(Scalar) == 8, uint64_t, uint32_t>, sizeof(Bits<Scalar>)>::type;
  return (Bits<Scalar>)((Unsigned)x >> count);
}
template <class V>
DERF_INLINE V zero_where_zero(V x, V a) {
  return select_or_zero(not_equal(a, NumberIn<V>(0)), x);
}
template <class V>
DERF_INLINE V divide(V x, V y) {
  return x / y;
}
#else
template <class V>
using NumberIn = V;
#endif

template <class V>
DERF_INLINE V number(double x) {
  return V(static_cast<NumberIn<V>>(x));
}

template <class V>
constexpr bool is_wide = sizeof(NumberIn<V>) == 8;
template <class V>
constexpr NumberIn<V> largest_number = std::numeric_limits<NumberIn<V>>::max();
template <class V>
constexpr NumberIn<V> smallest_normal = std::numeric_limits<NumberIn<V>>::min();

// 1 / a, a >= 2^-100, within 2^-21; where a > 2^100 it may be 0.
template <class V>
DERF_INLINE V rough_reciprocal(V a) {
#if defined(CPU_CAPABILITY)
  if constexpr (!is_wide<V>) {
    return select_greater(a, number<V>(0x1p100), number<V>(0), reciprocal_of_normal(a));
  }
#endif
  return divide(number<V>(1), a);
}
// x / a, 1 <= a <= 2^10
template <class V>
DERF_INLINE V divide_by_small(V x, V a) {
#if defined(CPU_CAPABILITY)
  if constexpr (!is_wide<V>) {
    const V r = reciprocal_of_normal(a), q = x * r;
    return fmadd(fnmadd(q, a, x), r, q);
  }
#endif
  return divide(x, a);
}

template <class V>
DERF_INLINE V select_infinite(V a, V x, V y) {
  return select_greater(a, V(largest_number<V>), x, y);
}

// P::polynomial at x, lowest coefficient first; where it is long, of every `step`th from `first` on in x^step.
template <class P, int first, int step, class V>
DERF_INLINE V horner(V x) {
  constexpr NumberIn<V> coefficient = P::polynomial[first];
  if constexpr (first + step > P::degree) {
    return V(coefficient);
  } else {
    return fmadd(horner<P, first + step, step>(x), x, V(coefficient));
  }
}
template <class P, class V>
DERF_INLINE V polynomial_at(V x) {
  if constexpr (P::degree > 5) {
    const V square = x * x;
    return fmadd(horner<P, 1, 2>(square), x, horner<P, 0, 2>(square));
  } else {
    return horner<P, 0, 1>(x);
  }
}

template <class V>
DERF_INLINE V magic() {
  return V(NumberIn<V>(is_wide<V> ? 0x1.8p52 : 0x1.8p23));
}
// The nearest whole number to x c, for |x c| < 2^22.
template <class V>
DERF_INLINE V nearest(V x, double c) {
  return fmadd(x, number<V>(c), magic<V>()) - magic<V>();
}

// ln(2) in two parts, the first of so few bits that a whole number times it is exact.
template <class V>
struct Ln2 {
  static constexpr double first = is_wide<V> ? 0x1.62e42fefa38p-1 : 0x1.62e4p-1;
  static constexpr double rest = is_wide<V> ? 0x1.ef35793c7673p-45 : 1.428606820309417232e-6;
};

// e^-a = 2^-n (1 + q)
template <class V>
struct ExponentialParts {
  V n, q;
};
template <class V>
DERF_INLINE ExponentialParts<V> exponential_parts(V a) {
  const V n = nearest(a, 1.442695040888963407);
  const V r = fnmadd(n, number<V>(Ln2<V>::rest), fnmadd(n, number<V>(Ln2<V>::first), a));
  return {n, fmadd(r * r, polynomial_at<coefficients::Exponential<NumberIn<V>>>(r), number<V>(0) - r)};
}
// 0 for n = 127 (double: 1023), the largest n that is allowed
template <class V>
DERF_INLINE V two_to_minus(V n) {
  return times_power_of_two<1>(number<V>(1), magic<V>() - n);
}
template <class V>
constexpr double largest_exponent = is_wide<V> ? 709.09 : 88.03;  // where n reaches that

// 0 where it is below 2^-126 (double: 2^-1022)
template <class V>
DERF_INLINE V exp_minus(V a) {
  const auto parts = exponential_parts(at_most(a, number<V>(largest_exponent<V>)));
  const V scale = two_to_minus(parts.n);
  return fmadd(scale, parts.q, scale);
}
template <class V>
DERF_INLINE V one_minus_exp_minus(V a) {
  const auto parts = exponential_parts(at_most(a, number<V>(largest_exponent<V>)));
  const V scale = two_to_minus(parts.n);
  return fnmadd(scale, parts.q, number<V>(1) - scale);
}
// In two steps, of which the second may give denormal numbers: correct for results down to the smallest ones.
template <class V>
DERF_INLINE V times_exp_minus(V x, V a) {
  constexpr double largest = is_wide<V> ? 770 : 150, first = is_wide<V> ? 1000 : 100;
  const auto parts = exponential_parts(at_most(a, number<V>(largest)));
  const V n = at_most(parts.n, number<V>(first));
  return fmadd(x, parts.q, x) * two_to_minus(n) * two_to_minus(parts.n - n);
}

#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2) || defined(CPU_CAPABILITY_NEON)
// log(1 + a), y being 1 + a rounded, by the piece that the first bits of y's mantissa m say: a times that piece's c is
// t, and a itself on the first one. From 2 on the rounding of y no longer counts, and m - 1 takes the place of a.
DERF_INLINE Vec<float> log1p_on_pieces(Vec<float> a) {
  using V = Vec<float>;
  using P = coefficients::LogarithmOnPieces<pieces_in_register>;
  const V one(1), y = one + a, below_two(0x1.fffffep0f);
  const V piece = from_bits<float>(shifted_right<float>(bits(y), pieces_in_register == 16 ? 19 : 20));
  const V c = lookup(P::c, piece), whole = fmadd(exponent_of(y), V(0x1.62e43p-1f), lookup(P::log, piece));
  const V t = fmadd(select_greater(y, below_two, mantissa_of(y) - one, a), c, c - one);
  const V result = fmadd(t * t, horner<P, 0, 1>(t), t) + whole;
  return pieces_in_register == 16 ? result : select_infinite(a, a, result);
}
#endif

// With 1 + a = 2^n (1 + t): t has one rounding, and a itself is t where n = 0.
template <class V>
DERF_INLINE V log1p(V a) {
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2) || defined(CPU_CAPABILITY_NEON)
  if constexpr (!is_wide<V>) {
    return log1p_on_pieces(a);
  }
#endif
  using Scalar = NumberIn<V>;
  constexpr int mantissa = is_wide<V> ? 52 : 23;
  constexpr auto root_of_half =
      __builtin_bit_cast(std::conditional_t<is_wide<V>, int64_t, int32_t>, Scalar(0.707106781186547524));
  constexpr auto exponent = ~((decltype(root_of_half)(1) << mantissa) - 1);
  const auto above = bits(number<V>(1) + a) - root_of_half;
  const V scale = from_bits<Scalar>(bits(number<V>(4)) - (above & exponent));  // 4 / 2^n: 1 / 2^128 would be denormal
  const V quarter = number<V>(0.25), t = fmadd(a * scale, quarter, fmadd(scale, quarter, number<V>(-1)));
  const V n = from_bits<Scalar>(bits(magic<V>()) + shifted_right<Scalar>(above, mantissa)) - magic<V>();
  const V log_of_t = fmadd(t * t, polynomial_at<coefficients::Logarithm<Scalar>>(t), t);
  const V result = fmadd(n, number<V>(Ln2<V>::first), fmadd(n, number<V>(Ln2<V>::rest), log_of_t));
  return select_infinite(a, a, result);
}

// asinh(a) = log(a + sqrt(a^2 + 1)), and log(2 a) where a^2 may be infinite.
template <class V>
DERF_INLINE V arcsinh(V a) {
  const V v = a * a, one = number<V>(1), large = number<V>(0x1p60);
  const V near = fmadd(a * v, polynomial_at<coefficients::Arcsinh<NumberIn<V>>>(v), a);
  const V log = log1p(select_greater(a, large, a, a + (square_root(v + one) - one)));
  const V far = log + select_greater(a, large, number<V>(0.693147180559945309), number<V>(0));
  return select_greater(a, number<V>(0.5), far, near);
}

// The same up to 1, and more than 1 from there on.
template <class V>
DERF_INLINE V arcsinh_to_one(V a) {
  const V v = a * a, near = fmadd(a * v, horner<coefficients::ArcsinhToOne<NumberIn<V>>, 0, 1>(v), a);
  return select_greater(a, number<V>(1.176), number<V>(2), near);
}

// Whole numbers of 32 bits as the nearest float, and back.
#if defined(CPU_CAPABILITY)
template <class V>
DERF_INLINE V rounded_to_number(Bits<float> x) {
  return std::bit_cast<V>(__builtin_convertvector(x, typename NativeVector<float, sizeof(V)>::type));
}
DERF_INLINE Bits<float> rounded_to_bits(Vec<float> x) {
  return __builtin_convertvector(std::bit_cast<typename NativeVector<float, sizeof(x)>::type>(x), Bits<float>);
}
#else
template <class V>
DERF_INLINE V rounded_to_number(int32_t x) {
  return V(x);
}
DERF_INLINE int32_t rounded_to_bits(float x) { return int32_t(x); }
#endif

// a^(-1/3): a guess by the exponent, within 3.5%, and steps that cube its error, or a polynomial of it in a single one.
template <class V>
DERF_INLINE V inverse_cube_root(V a) {
  using Scalar = NumberIn<V>;
  const V normal(smallest_normal<V>);
  const V up = number<V>(is_wide<V> ? 0x1p54 : 0x1p24), back = number<V>(is_wide<V> ? 0x1p18 : 0x1p8);
  const V x = select_greater(normal, a, a * up, a);
  V y;
  if constexpr (is_wide<V>) {
    auto third = shifted_right<Scalar>(bits(x), 2);
    third = third + shifted_right<Scalar>(third, 2);
    third = third + shifted_right<Scalar>(third, 4);
    third = third + shifted_right<Scalar>(third, 8);
    y = from_bits<Scalar>(0x553ef0ff289dd796 - third);
    for (int step = 0; step < 3; ++step) {
      const V e = fnmadd(x * y * y, y, number<V>(1));
      y = fmadd(y * e, fmadd(e, number<V>(2. / 9), number<V>(1. / 3)), y);
    }
  } else {
    y = from_bits<Scalar>(
        rounded_to_bits(fmadd(rounded_to_number<V>(bits(x)), number<V>(-1. / 3), number<V>(0x54a1f600))));
    const V e = fnmadd(x * y * y, y, number<V>(1));
    y = fmadd(y * e, horner<coefficients::InverseCubeRoot<Scalar>, 0, 1>(e), y);
  }
  return select_greater(normal, a, y * back, y);
}

template <class V>
DERF_INLINE V scaled_arctangent(V a) {
  const V one = number<V>(1), t = select_greater(a, one, divide(one, a), a);
  const V p = t * horner<coefficients::Arctangent<NumberIn<V>>, 0, 1>(t * t);  // two halves would cancel each other
  return select_greater(a, one, one - p, p);
}

// The odd polynomial, |r| <= pi/2.
template <class V>
DERF_INLINE V sine_polynomial(V r) {
  const V v = r * r;
  return fmadd(r * v, polynomial_at<coefficients::Sine<NumberIn<V>>>(v), r);
}
template <class V>
DERF_INLINE V quarter_sine(V a) {
  return sine_polynomial(a);
}
// cos(a) for a <= pi/2, relatively exact at the end too; 0 past it.
template <class V>
DERF_INLINE V quarter_cosine(V a) {
  constexpr double half_pi = is_wide<V> ? 0x1.921fb54442d18p0 : 0x1.921fb6p0,
                   rest = is_wide<V> ? 6.123233995736766e-17 : -4.371139000186241e-8;
  const V d = (number<V>(half_pi) - a) + number<V>(rest);
  return select_greater(number<V>(0), d, number<V>(0), sine_polynomial(d));
}

// Up to where whole numbers of pi, or halves, are exact in parts.
template <class V>
constexpr double largest_angle = is_wide<V> ? 1e6 : 1e4;
// sin(a), or cos(a): |a - n pi| <= pi/2, n whole, or a half more.
template <bool cosine, class V>
DERF_INLINE V sine_of_moderate(V a) {
  using Scalar = NumberIn<V>;
  using Pi = coefficients::Pi<Scalar>;
  constexpr double inverse_of_pi = 0.318309886183790672;
  V k, n;
  if constexpr (cosine) {  // there are no halves where `magic` is
    k = (fmadd(a, number<V>(inverse_of_pi), number<V>(-0.5)) + magic<V>()) - magic<V>();
    n = k + number<V>(0.5);
  } else {
    k = n = nearest(a, inverse_of_pi);
  }
  constexpr Scalar first = Pi::part[0], second = Pi::part[1], third = Pi::part[2], rest = Pi::part[3];
  const V r = fnmadd(n, V(rest), fnmadd(n, V(third), fnmadd(n, V(second), fnmadd(n, V(first), a))));
  const auto odd = bits(k + magic<V>()) + (cosine ? 1 : 0);
  return with_sign_of(sine_polynomial(r), from_bits<Scalar>(odd << (is_wide<V> ? 63 : 31)));
}

}  // namespace DERF_WORLD

#include "huge_angle.h"

namespace DERF_WORLD {

template <class V>
DERF_INLINE V sine(V u) {
  const V a = magnitude(u);
  V result = sine_of_moderate<false>(a);
  if (any_greater(a, number<V>(largest_angle<V>))) {
    result = sine_of_huge<false>(a, result);
  }
  return with_sign_of(result, u);
}
template <class V>
DERF_INLINE V cosine(V u) {
  const V a = magnitude(u);
  V result = sine_of_moderate<true>(a);
  if (any_greater(a, number<V>(largest_angle<V>))) {
    result = sine_of_huge<true>(a, result);
  }
  return result;
}

}  // namespace DERF_WORLD
