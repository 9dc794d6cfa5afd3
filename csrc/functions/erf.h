// The error function and its slope: formulas of our own, division-free; coefficients.py explains and computes them.
//
//   Scalar       value                 slope 2/sqrt(pi) exp(-u^2)
//   double       2 ulp                 relative 2^-46 where it is >= 2^-20
//   float        2 ulp                 relative 2^-19 where it is >= 2^-20, absolute 2^-39 elsewhere
//   16 bits      relative 2^-18        relative 2^-14 where it is >= 2^-20, absolute 2^-34 elsewhere
//
// for every finite u, denormals included, on every instruction set; erf(±0) = ±0, erf(±Inf) = ±1 exactly, NaN gives
// NaN, and the slope is exactly 0 from |u| = 9.4 (double: 26.7) on. tests/test_numerics.py holds the code to this.
// (The maxima of what was measured stand in CONTRIBUTING.md.)
#pragma once
#include "erf_coefficients.h"
#include "vector.h"

namespace derf::CPU_CAPABILITY {

// T is the type of the tensor; arithmetic is in float for 16-bit types, to the accuracy that such a type can show.
template <class T>
struct Erf {
  using Scalar = std::conditional_t<std::is_same_v<T, double>, double, float>;
  using V = Vec<Scalar>;
  static constexpr bool is_double = std::is_same_v<T, double>, is_16_bit = sizeof(T) == 2;

#if defined(CPU_CAPABILITY_AVX2)  // its registers permute eight floats, so: fewer pieces, longer polynomials
  using FloatValue = coefficients::ErfValue<float, 8, is_16_bit ? 5 : 6>;
#else
  using FloatValue = coefficients::ErfValue<float, 32, is_16_bit ? 3 : 4>;
#endif
  using Value = std::conditional_t<is_double, coefficients::ErfValue<double, 16, 12>, FloatValue>;
  using Slope = coefficients::ErfSlope<Scalar, is_double ? 11 : is_16_bit ? 4 : 5>;

  static V value(V u) {
    using at::vec::fmadd;
    const V a = at::vec::clamp_max(u.abs(), V(Value::limit));
    const V piece = fmadd(a, V(1 / Value::width), V(round_magic<Scalar>));
    const V t = fmadd(piece - V(round_magic<Scalar>), V(-Value::width), a);
    V p = lookup(Value::table[Value::degree], piece);
#pragma GCC unroll 16
    for (int d = Value::degree - 1; d >= 0; --d) {
      p = fmadd(p, t, lookup(Value::table[d], piece));
    }
    const V m = at::vec::clamp(u, V(-Value::kink), V(Value::kink));
    return fmadd(m, p, m);
  }

  static V slope(V u) {
    using at::vec::fmadd;
    constexpr Scalar log2_e = 1.442695040888963407, ln_2 = 0.693147180559945309;
    constexpr Scalar largest = is_double ? 707 : 86.5;  // 2^-n stays a normal number
    const V exact = u * u;
    const V v = at::vec::clamp_max(exact, V(largest));
    const V n = fmadd(v, V(-log2_e), V(round_magic<Scalar>));
    const V r = fmadd(n - V(round_magic<Scalar>), V(ln_2), v);
    V p(Slope::polynomial[Slope::degree]);
#pragma GCC unroll 16
    for (int d = Slope::degree - 1; d >= 0; --d) {
      p = fmadd(p, r, V(Slope::polynomial[d]));
    }
    if constexpr (is_double) {  // what the rounding of u^2 lost: exp(-v - lost) = exp(-v) (1 - lost)
      p = at::vec::fnmadd(p, fmadd(u, u, exact.neg()), p);
    }
    return zero_where(greater(exact, V(largest)), scale_by_power_of_two(p, n));
  }
};

}  // namespace derf::CPU_CAPABILITY
