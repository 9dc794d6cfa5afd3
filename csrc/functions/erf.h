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
// this, and docs/accuracy.md has what was measured.
//
// The same function twice: for the vectors of a CPU, which permute tables, and for one thread of a GPU, which has a
// power of two in one instruction.
#pragma once
#include "erf_coefficients.h"
#include "world.h"

#if defined(DERF_COMPOSITE)

namespace derf::composite {

struct Erf {
  static constexpr Facts facts{"erf(u)", 1, 2, true, paper};

  template <class V>
  static V value(V u) {
    return at::erf(u);
  }

  template <class V>
  static ValueAndSlope<V> value_and_slope(V u) {
    return {at::erf(u), at::exp(-u.clamp(-1e10, 1e10).square()) * 1.128379167095512574};
  }

  template <class V>
  static V second_derivative(V u) {
    return value_and_slope(u).slope * u.clamp(-1e10, 1e10) * -2;
  }
};

}  // namespace derf::composite

#elif defined(CPU_CAPABILITY)
#include "pieces.h"

namespace derf::CPU_CAPABILITY {

// What each instruction set does best: as many pieces as a register has lanes, none where nothing picks from a
// register.
template <class T>
struct ErfChoice {
  static constexpr bool is_bfloat16 = std::is_same_v<T, c10::BFloat16>;
#if defined(CPU_CAPABILITY_AVX512)
  static constexpr bool is_short = sizeof(T) == 2, on_table = true, central = !is_double<T>;
  using Value =
      std::conditional_t<is_double<T>, coefficients::ErfValue<double, 16, 12>, coefficients::ErfValue<float, 16, 5>>;
  using Ratio = coefficients::ErfRatio<16, is_bfloat16 ? 2 : 3>;
  using Slope = coefficients::ErfSlope<float, 16, is_short ? 2 : 3, is_short>;
  using Central = coefficients::ErfCentral<16, is_short ? 3 : 5, is_short>;
#elif defined(CPU_CAPABILITY_AVX2) || defined(CPU_CAPABILITY_NEON)
  static constexpr bool is_short = sizeof(T) == 2, on_table = !is_double<T>, central = on_table && !is_short;
  using Value = coefficients::ErfValue<float, 8, 6>;
  using Ratio = coefficients::ErfRatio<8, is_bfloat16 ? 3 : 4>;
  using Slope = coefficients::ErfSlope<float, 8, is_short ? 2 : 3, is_short>;
  using Central = coefficients::ErfCentral<8, 6, false>;
#else
  static constexpr bool is_short = false, on_table = false, central = false;
  using Slope = coefficients::ErfSlope<float, 1, 6, false>;
#endif
};

// T is the type of the tensor; arithmetic is in float for 16-bit types, where `is_short` to the accuracy that such a
// type can show.
template <class T>
struct Erf {
  using Scalar = std::conditional_t<is_double<T>, double, float>;
  using V = Vec<Scalar>;
  using Choice = ErfChoice<T>;
  using Slope = std::conditional_t<is_double<T>, coefficients::ErfSlope<double, 1, 11, false>, typename Choice::Slope>;
  static constexpr bool is_short = Choice::is_short;

  // What u = alpha x + shift is to be multiplied by, which costs nothing in alpha and shift.
  static constexpr double value_unit = [] {
    if constexpr (is_short) {
      return 1 / Choice::Ratio::unit;
    } else {
      return 1.;
    }
  }();
  static constexpr double gradient_unit = is_short ? 1.201122408786449795 : 1;  // sqrt(log2(e))

  // erf(u / value_unit)
  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> value(const Pack<Scalar, n>& u) {
    if constexpr (is_short) {
      using Ratio = typename Choice::Ratio;
      const auto a = each([](V x) { return at_most(magnitude(x), Ratio::end); }, u);
      return each([](V x, V y, V sign) { return with_sign_of(x * y, sign); }, a, on_pieces<Ratio>(a), u);
    } else if constexpr (Choice::on_table) {
      using Value = typename Choice::Value;
      // Distance from the centre of the first piece. The end itself would round to a piece too many.
      constexpr Scalar end = Value::pieces * Value::width * Scalar(0.9999);
      const auto a = each([](V x) { return number_at_most(magnitude(x), end) - V(Value::width / 2); }, u);
      const auto m = each([](V x) { return limited(x, Value::kink); }, u);
      return each([](V x, V y) { return fmadd(x, y, x); }, m, on_pieces<Value>(a));
    } else {
      return gradient<true>(u).value;
    }
  }

  template <size_t n>
  struct Gradient {
    Pack<Scalar, n> value, slope;        // value means nothing where it is not asked for
    Several<LaneMask<Scalar>, n> alive;  // where not, the slope is 0 and what stands in `slope` means nothing
  };

  // Value, accurate enough for a sum of gradients, and slope of erf at u / gradient_unit.
  template <bool want_value, size_t n>
  static inline __attribute__((always_inline)) Gradient<n> gradient(const Pack<Scalar, n>& u) {
    constexpr Scalar limit = (is_double<T> ? 26.6 : 9.3) * gradient_unit;  // up to there the slope is a normal number
    const auto a = each([](V x) { return at_most(magnitude(x), limit); }, u);
    const auto v = each([](V x) { return x * x; }, a);
    Gradient<n> out;
    out.slope = exponential(a, v);
    out.alive = each([](V x) { return not_equal(x, limit); }, a);
    const auto complement = [](V slope, V q, V sign) { return with_sign_of(fnmadd(slope, q, V(1)), sign); };
    if constexpr (!want_value) {
    } else if constexpr (Choice::central) {
      using Central = typename Choice::Central;
      constexpr Scalar end = Central::width * (Central::pieces - Scalar(0.5001));
      const auto near = each([](V x) { return at_most(magnitude(x), end); }, u);  // not of a: a shorter chain
      out.value = each([](V x, V sign) { return with_sign_of(x, sign); }, on_pieces<Central>(near), u);
    } else if constexpr (Choice::on_table && is_double<T>) {
      out.value = value(u);
    } else if constexpr (is_short) {
      out.value = each(complement, out.slope, polynomial(coefficients::ErfComplement::polynomial, a, v), u);
    } else {
      using Joined = coefficients::ErfJoined<Scalar>;
      const auto t = each([](V x) { return x - V(Joined::centre); }, a);
      const auto far = each(complement, out.slope, polynomial(Joined::far, t, each([](V x) { return x * x; }, t)), u);
      const auto near = each([](V x, V y) { return fmadd(x, y, x); }, u, polynomial(Joined::near, v));
      out.value = each([](V x, V y, V z) { return select_greater(x, V(Joined::join), y, z); }, a, far, near);
    }
    return out;
  }

 private:
  // 2/sqrt(pi) exp(-(u / gradient_unit)^2), v = u^2.
  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> exponential(const Pack<Scalar, n>& u,
                                                                           const Pack<Scalar, n>& v) {
    constexpr int entries = sizeof(Slope::table) / sizeof(Slope::table[0]);
    Pack<Scalar, n> minus_n, r;  // v = r and n parts of what halves the exponential
    if constexpr (is_short) {
      const V magic(round_magic<Scalar> / entries);
      minus_n = each([&](V x) { return magic - x; }, v);
      r = each([&](V x, V k) { return x + (k - magic); }, v, minus_n);
    } else {
      // ln 2 in two parts: n times the first is exact. Only float64 shows the second.
      constexpr Scalar log2_e = 1.442695040888963407, ln_2 = is_double<T> ? 0x1.62e42feep-1 : 0.693147180559945309;
      [[maybe_unused]] constexpr Scalar ln_2_rest = 0x1.a39ef35793c76p-33;
      const V magic(round_magic<Scalar>);
      minus_n = each([&](V x) { return fmadd(x, V(-log2_e * entries), magic); }, v);
      r = each([&](V x, V k) { return fmadd(k - magic, V(ln_2 / entries), x); }, v, minus_n);
      if constexpr (is_double<T>) {
        r = each([&](V x, V k) { return fmadd(k - magic, V(ln_2_rest), x); }, r, minus_n);
      }
    }
    const auto power = each([](V k) { return times_power_of_two<entries>(lookup(Slope::table, k), k); }, minus_n);
    const auto q = polynomial(Slope::polynomial, r);
    const auto p = each([](V x, V y, V z) { return fmadd(x * y, z, x); }, power, r, q);
    if constexpr (is_double<T>) {  // what the rounding of u^2 lost: exp(-v - lost) = exp(-v) (1 - lost)
      return each([](V x, V y, V z) { return fnmadd(x, fmadd(y, y, V(0) - z), x); }, p, u, v);
    } else {
      return p;
    }
  }
};

}  // namespace derf::CPU_CAPABILITY

#else

namespace derf::cuda {

// T is the type of the tensor. The slope is exactly 0 where it is dead.
template <class T>
struct Erf {
  using Polynomials =
      std::conditional_t<std::is_same_v<T, float>, coefficients::ErfThread<6, 5>,
                         std::conditional_t<std::is_same_v<T, Half>, coefficients::ErfThread<2, 5>,  // 11 bits
                                            coefficients::ErfThread<2, 3>>>;                         // 8 bits

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
