// The error function and its slope: formulas of our own, division-free; coefficients.py explains and computes them.
//
//   Scalar       value                 slope 2/sqrt(pi) exp(-u^2)
//   double       2 ulp                 relative 2^-46 where it is >= 2^-20
//   float        2 ulp                 relative 2^-19 where it is >= 2^-20, absolute 2^-39 elsewhere
//   float16      relative 2^-17.6      relative 2^-14 where it is >= 2^-20, absolute 2^-34 elsewhere
//   bfloat16     relative 2^-14.6      likewise
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
  static constexpr int bits_lacking = std::is_same_v<T, c10::BFloat16> ? 3 : 0;  // to float16's 11

// As many pieces as a register has lanes, and the shorter polynomials for it.
#if defined(CPU_CAPABILITY_AVX2)
  using FloatValue = coefficients::ErfValue<float, 8, 6>;
  using Ratio = coefficients::ErfRatio<8, bits_lacking ? 3 : 4>;
  using FloatSlope = coefficients::ErfSlope<float, 8, is_16_bit ? 2 : 3, is_16_bit>;
#elif defined(CPU_CAPABILITY_AVX512)
  using FloatValue = coefficients::ErfValue<float, 16, 5>;
  using Ratio = coefficients::ErfRatio<16, bits_lacking ? 2 : 3>;
  using FloatSlope = coefficients::ErfSlope<float, 16, 2, is_16_bit>;
  using Central = coefficients::ErfCentral<16, is_16_bit ? 3 : 4, is_16_bit>;
#else
  using FloatValue = coefficients::ErfValue<float, 16, 5>;
  using Ratio = coefficients::ErfRatio<16, bits_lacking ? 2 : 3>;
  using FloatSlope = coefficients::ErfSlope<float, 1, is_16_bit ? 4 : 6, is_16_bit>;
#endif
  using Value = std::conditional_t<is_double, coefficients::ErfValue<double, 16, 12>, FloatValue>;
  using Slope = std::conditional_t<is_double, coefficients::ErfSlope<double, 1, 11, false>, FloatSlope>;

  // What u = alpha x + shift is to be multiplied by, which costs nothing in alpha and shift.
  static constexpr double value_unit = is_16_bit ? 1 / Ratio::unit : 1;
  static constexpr double gradient_unit = is_16_bit ? 1.201122408786449795 : 1;  // sqrt(log2(e))

  // erf(u / value_unit)
  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> value(const Pack<Scalar, n>& u) {
    if constexpr (is_16_bit) {
      const auto a = each([](V x) { return at_most(x.abs(), Ratio::end); }, u);
      const auto p = on_pieces<Ratio>(1, a);
      return each([](V x, V magnitude, V y) { return with_sign_of(magnitude * y, x); }, u, a, p);
    } else {
      constexpr Scalar width = Value::width, end = Value::pieces * width;
      // Distance from the centre of the first piece. `end` itself would round to a piece too many.
      const auto a = each([](V x) { return magnitude_up_to(x, end * Scalar(0.9999)) - V(width / 2); }, u);
      const auto p = on_pieces<Value>(width, a);
      const auto m = each([](V x) { return limited(x, Value::kink); }, u);
      return each([](V x, V y) { return fmadd(x, y, x); }, m, p);
    }
  }

  template <size_t n>
  struct Gradient {
    Pack<Scalar, n> value, slope;          // means nothing where not asked for
    std::array<Alive<Scalar>, n> alive;  // where not, the slope is 0 and what stands in `slope` means nothing
  };

  // Value, accurate enough for a sum of gradients, and slope of erf at u / gradient_unit.
  template <bool want_value, bool want_slope, size_t n>
  static inline __attribute__((always_inline)) Gradient<n> gradient(const Pack<Scalar, n>& u) {
    constexpr Scalar limit = (is_double ? 26.6 : 9.3) * gradient_unit;  // up to there 2^k is a normal number
    const auto a = each([](V x) { return at_most(x.abs(), limit); }, u);
    Gradient<n> out;
    out.slope = exponential(a);
    out.alive = each([](V x) { return differs(x, limit); }, a);
    if constexpr (want_value && is_double) {
      out.value = value(u);
    } else if constexpr (want_value) {
#if defined(CPU_CAPABILITY_AVX512)
      const auto near = each([](V x) { return at_most(x, Central::width * (Central::pieces - Scalar(0.5001))); }, a);
      out.value = each([](V y, V x) { return with_sign_of(y, x); }, on_pieces<Central>(Central::width, near), u);
#else
      using Q = coefficients::ErfComplement<is_16_bit ? 6 : 10, is_16_bit>;
      const auto v = each([](V x) { return x * x; }, a);
      // Two chains side by side, of the even and of the odd powers.
      auto even = broadcast_pack<Scalar, n>(Q::polynomial[Q::degree]), odd = broadcast_pack<Scalar, n>(Q::polynomial[Q::degree - 1]);
#pragma GCC unroll 16
      for (int d = Q::degree - 2; d >= 0; d -= 2) {
        even = each([&](V sum, V x) { return fmadd(sum, x, V(Q::polynomial[d])); }, even, v);
        if (d > 0) {
          odd = each([&](V sum, V x) { return fmadd(sum, x, V(Q::polynomial[d - 1])); }, odd, v);
        }
      }
      const auto q = each([](V x, V y, V z) { return fmadd(x, y, z); }, odd, a, even);
      out.value = each([](V x, V e, V y) { return with_sign_of(fnmadd(e, y, V(1)), x); }, u, out.slope, q);
#endif
    }
    return out;
  }

 private:
  // The polynomial of the piece that a, a whole number of widths and t, is in, at t.
  template <class Pieces, size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> on_pieces(Scalar width, const Pack<Scalar, n>& a) {
    Pack<Scalar, n> piece, t;
    if (is_power_of_two(width)) {  // additions have execution ports of their own
      const V magic(round_magic<Scalar> * width);
      piece = each([&](V x) { return x + magic; }, a);
      t = each([&](V x, V k) { return x - (k - magic); }, a, piece);
    } else {
      const V magic(round_magic<Scalar>);
      piece = each([&](V x) { return fmadd(x, V(1 / width), magic); }, a);
      t = each([&](V x, V k) { return fmadd(k - magic, V(-width), x); }, a, piece);
    }
    auto p = each([](V k) { return lookup(Pieces::table[Pieces::degree], k); }, piece);
#pragma GCC unroll 16
    for (int d = Pieces::degree - 1; d >= 0; --d) {
      p = each([&](V sum, V x, V k) { return fmadd(sum, x, lookup(Pieces::table[d], k)); }, p, t, piece);
    }
    return p;
  }

  // 2/sqrt(pi) exp(-(u / gradient_unit)^2)
  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> exponential(const Pack<Scalar, n>& u) {
    const auto v = each([](V x) { return x * x; }, u);
    Pack<Scalar, n> minus_n, r;  // v = n parts of a power of two and r
    if constexpr (is_16_bit) {
      const V magic(round_magic<Scalar> / Slope::entries);
      minus_n = each([&](V x) { return magic - x; }, v);
      r = each([&](V x, V y) { return x + (y - magic); }, v, minus_n);
    } else {
      // ln 2 in two parts: n times the first is exact. Only float64 shows the second.
      constexpr Scalar log2_e = 1.442695040888963407, ln_2 = is_double ? 0x1.62e42feep-1 : 0.693147180559945309;
      [[maybe_unused]] constexpr Scalar ln_2_rest = 0x1.a39ef35793c76p-33;
      const V magic(round_magic<Scalar>);
      minus_n = each([&](V x) { return fmadd(x, V(-log2_e * Slope::entries), magic); }, v);
      r = each([&](V x, V y) { return fmadd(y - magic, V(ln_2 / Slope::entries), x); }, v, minus_n);
      if constexpr (is_double) {
        r = each([&](V x, V y) { return fmadd(y - magic, V(ln_2_rest), x); }, r, minus_n);
      }
    }
    const auto power = each([](V k) { return times_power_of_two<Slope::entries>(lookup(Slope::table, k), k); }, minus_n);
    auto q = broadcast_pack<Scalar, n>(Slope::polynomial[Slope::degree - 1]);
#pragma GCC unroll 16
    for (int d = Slope::degree - 2; d >= 0; --d) {
      q = each([&](V sum, V x) { return fmadd(sum, x, V(Slope::polynomial[d])); }, q, r);
    }
    const auto p = each([](V x, V y, V z) { return fmadd(x * y, z, x); }, power, r, q);
    if constexpr (is_double) {  // what the rounding of u^2 lost: exp(-v - lost) = exp(-v) (1 - lost)
      return each([](V x, V y, V z) { return fnmadd(x, fmadd(y, y, z.neg()), x); }, p, u, v);
    } else {
      return p;
    }
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
