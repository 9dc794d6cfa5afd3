// The error function and its slope: formulas of our own, division-free; coefficients.py explains and computes them.
//
//   Scalar       value                 slope 2/sqrt(pi) exp(-u^2)
//   double       2 ulp                 relative 2^-46 where it is >= 2^-20
//   float        2 ulp                 relative 2^-19 where it is >= 2^-20, absolute 2^-39 elsewhere
//   16 bits      relative 2^-17.8      relative 2^-14 where it is >= 2^-20, absolute 2^-34 elsewhere
//   (bfloat16    relative 2^-15.4      on a GPU)
//
// for every finite u, denormals included, on every instruction set and GPU; erf(±0) = ±0, erf(±Inf) = ±1 exactly, NaN
// gives NaN, and the slope is exactly 0 from |u| = 9.4 (double: 26.7) on. tests/test_numerics.py holds the code to
// this, and README.md has what was measured.
//
// The same function twice: for the vectors of a CPU, which permute tables, and for one thread of a GPU, which has a
// power of two in one instruction.
#pragma once
#include "erf_coefficients.h"

#if defined(CPU_CAPABILITY)
#include "vector.h"

namespace derf::CPU_CAPABILITY {

constexpr bool is_power_of_two(double x) {
  while (x < 1) {
    x *= 2;
  }
  return x == 1;
}

// T is the type of the tensor; arithmetic is in float for 16-bit types, to the accuracy that such a type can show.
template <class T>
struct Erf {
  using Scalar = std::conditional_t<std::is_same_v<T, double>, double, float>;
  using V = Vec<Scalar>;
  static constexpr bool is_double = std::is_same_v<T, double>, is_16_bit = sizeof(T) == 2;

#if defined(CPU_CAPABILITY_AVX2)  // its registers permute eight floats, so: fewer pieces, longer polynomials
  using FloatValue = coefficients::ErfValue<float, 8, is_16_bit ? 4 : 6>;
#else
  using FloatValue = coefficients::ErfValue<float, 16, is_16_bit ? 3 : 5>;
#endif
  using Value = std::conditional_t<is_double, coefficients::ErfValue<double, 16, 12>, FloatValue>;
  using Slope = coefficients::ErfSlope<Scalar, is_double ? 11 : is_16_bit ? 4 : 5>;

  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> value(const Pack<Scalar, n>& u) {
    using at::vec::fmadd;
    constexpr Scalar width = Value::width, end = Value::pieces * width;
    // Distance from the centre of the first piece. `end` itself would round to a piece too many.
    const auto a = each([](V x) { return magnitude_up_to(x, end * Scalar(0.9999)) - V(width / 2); }, u);
    Pack<Scalar, n> piece, t;
    if constexpr (is_power_of_two(width)) {  // additions have execution ports of their own
      const V magic(round_magic<Scalar> * width);
      piece = each([&](V x) { return x + magic; }, a);
      t = each([&](V x, V k) { return x - (k - magic); }, a, piece);
    } else {
      const V magic(round_magic<Scalar>);
      piece = each([&](V x) { return fmadd(x, V(1 / width), magic); }, a);
      t = each([&](V x, V k) { return fmadd(k - magic, V(-width), x); }, a, piece);
    }
    auto p = each([](V k) { return lookup(Value::table[Value::degree], k); }, piece);
#pragma GCC unroll 16
    for (int d = Value::degree - 1; d >= 0; --d) {
      p = each([&](V sum, V x, V k) { return fmadd(sum, x, lookup(Value::table[d], k)); }, p, t, piece);
    }
    const auto m = each([](V x) { return limited(x, Value::kink); }, u);
    return each([](V x, V y) { return fmadd(x, y, x); }, m, p);
  }

  // Where `dead`, the slope is 0 and what stands in `slope` means nothing.
  template <size_t n>
  struct SlopeOrDead {
    Pack<Scalar, n> slope;
    std::array<Mask<Scalar>, n> dead;
  };

  template <size_t n>
  static inline __attribute__((always_inline)) SlopeOrDead<n> slope(const Pack<Scalar, n>& u) {
    using at::vec::fmadd;
    // ln 2 in two parts: k times the first is exact. Only float64 shows the second.
    constexpr Scalar log2_e = 1.442695040888963407, ln_2 = is_double ? 0x1.62e42feep-1 : 0.693147180559945309;
    [[maybe_unused]] constexpr Scalar ln_2_rest = 0x1.a39ef35793c76p-33;
    constexpr Scalar largest = is_double ? 707 : 86.5;  // up to there 2^k is a normal number
    const V magic(round_magic<Scalar>);
    const auto v = each([](V x) { return x * x; }, u);
    const auto k = each([&](V x) { return fmadd(x, V(-log2_e), magic); }, v);
    auto r = each([&](V x, V y) { return fmadd(x - magic, V(ln_2), y); }, k, v);
    if constexpr (is_double) {
      r = each([&](V x, V y) { return fmadd(x - magic, V(ln_2_rest), y); }, k, r);
    }
    auto p = each([](V) { return V(Slope::polynomial[Slope::degree]); }, r);
#pragma GCC unroll 16
    for (int d = Slope::degree - 1; d >= 0; --d) {
      p = each([&](V sum, V x) { return fmadd(sum, x, V(Slope::polynomial[d])); }, p, r);
    }
    if constexpr (is_double) {  // what the rounding of u^2 lost: exp(-v - lost) = exp(-v) (1 - lost)
      p = each([](V x, V y, V z) { return at::vec::fnmadd(x, fmadd(y, y, z.neg()), x); }, p, u, v);
    }
    return {each([](V x, V y) { return scale_by_power_of_two(x, y); }, p, k),
            each([](V x) { return greater(x, V(largest)); }, v)};
  }
};

}  // namespace derf::CPU_CAPABILITY

#else
#include "thread.h"

namespace derf::cuda {

// T is the type of the tensor. The slope is exactly 0 where it is dead.
template <class T>
struct Erf {
  using Polynomials =
      std::conditional_t<std::is_same_v<T, float>, coefficients::ErfThread<6, 5>,
                         std::conditional_t<std::is_same_v<T, Half>, coefficients::ErfThread<2, 5>,  // 11 bits
                                            coefficients::ErfThread<2, 3> > >;                       // 8 bits

  DERF_THREAD static float value(float u) {
    const float near = std::fma(u, evaluate<typename Polynomials::Near>(u * u), u);
    const float far = 1 - exp2_approximately(evaluate<typename Polynomials::Far>(std::fabs(u)));
    return std::fabs(u) > Polynomials::join ? std::copysign(far, u) : near;  // NaN is near
  }

  DERF_THREAD static float slope(float u) {
    constexpr float log2_e = 1.442695040888963407, log2_of_factor = 0.174251935263840582;  // of 2/sqrt(pi)
    return exp2_approximately(std::fma(u * u, -log2_e, log2_of_factor));
  }
};

template <>
struct Erf<double> {
  // CUDA's own: within 2 ulp, and 1 for exp.
  DERF_THREAD static double value(double u) { return ::erf(u); }

  DERF_THREAD static double slope(double u) {
    const double v = u * u, lost = std::fma(u, u, -v);
    const double result = 1.128379167095512574 * ::exp(-v);
    return v > 707 ? 0 : std::fma(-lost, result, result);
  }
};

}  // namespace derf::cuda
#endif
