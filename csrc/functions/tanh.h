// The hyperbolic tangent and its slope, to the bounds of erf.h, and with the same interface.
//
// tanh(u) by pieces where a table is in registers; else u + u N(u^2) near 0 and 1 - 2 w from there on, w = E / (1 + E),
// E = exp(-2 |u|). The slope is 4 w (1 - w): relatively exact in the tails too. family_coefficients.py has the rest.
#pragma once
#include "world.h"

#if defined(DERF_COMPOSITE)

namespace derf::composite {

struct Tanh {
  static constexpr Facts facts{"tanh(u)", 1, 2, true, "DyT, arXiv 2503.10622"};

  template <class V>
  static V value(V u) {
    return at::tanh(u);
  }

  template <class V>
  static ValueAndSlope<V> value_and_slope(V u) {
    const V e = exp_minus(magnitude(u) * 2), w = e / (e + 1);
    return {at::tanh(u), w * (number<V>(1) - w) * 4};
  }

  template <class V>
  static V second_derivative(V u) {
    const auto both = value_and_slope(u);
    return both.value * both.slope * -2;
  }
};

}  // namespace derf::composite

#elif defined(CPU_CAPABILITY)
#include "pieces.h"

namespace derf::CPU_CAPABILITY {

// What each instruction set does best, as ErfChoice.
template <class T>
struct TanhChoice {
  static constexpr bool is_bfloat16 = std::is_same_v<T, c10::BFloat16>;
#if defined(CPU_CAPABILITY_AVX512)
  static constexpr bool is_short = sizeof(T) == 2, on_table = true;
  using Full =
      std::conditional_t<is_double<T>, coefficients::TanhValue<double, 16, 14>, coefficients::TanhValue<float, 16, 5>>;
  using Short = coefficients::TanhShort<16, is_bfloat16 ? 3 : 4>;
  using Power = coefficients::Power<float, 16, is_short>;
#elif defined(CPU_CAPABILITY_AVX2) || defined(CPU_CAPABILITY_NEON)
  static constexpr bool is_short = sizeof(T) == 2, on_table = !is_double<T>;
  using Full = coefficients::TanhValue<float, 8, 7>;
  using Short = coefficients::TanhShort<8, is_bfloat16 ? 4 : 5>;
  using Power = coefficients::Power<float, 8, is_short>;
#else
  static constexpr bool is_short = false, on_table = false;
  using Power = coefficients::Power<float, 1, false>;
#endif
};

// The polynomial of the piece that a lies in, a + origin in [2^e (1 + k / parts), 2^e (1 + (k + 1) / parts)), at the
// distance from there. e modulo 4 and k are the number of the piece.
template <class Pieces, class Scalar, size_t n>
inline __attribute__((always_inline)) Pack<Scalar, n> on_growing_pieces(const Pack<Scalar, n>& a) {
  using V = Vec<Scalar>;
  constexpr int shift = (sizeof(Scalar) == 8 ? 52 : 23) - (Pieces::pieces == 16 ? 2 : 1);
  const auto moved = each([](V x) { return x + V(Pieces::origin); }, a);
  const auto piece = each([](V x) { return from_bits<Scalar>(shifted_right<Scalar>(bits(x), shift)); }, moved);
  constexpr auto ends = ~((std::conditional_t < sizeof(Scalar) == 8, int64_t, int32_t > (1) << shift) - 1);
  const auto t = each([](V x) { return x - from_bits<Scalar>(bits(x) & ends); }, moved);
  auto p = each([](V k) { return lookup(Pieces::table[Pieces::degree], k); }, piece);
#pragma GCC unroll 16
  for (int d = Pieces::degree - 1; d >= 0; --d) {
    p = each([&](V sum, V x, V k) { return fmadd(sum, x, lookup(Pieces::table[d], k)); }, p, t, piece);
  }
  return p;
}

template <class T>
struct Tanh {
  using Scalar = std::conditional_t<is_double<T>, double, float>;
  using V = Vec<Scalar>;
  using Choice = TanhChoice<T>;
  using Power = std::conditional_t<is_double<T>, coefficients::Power<double, 1, false>, typename Choice::Power>;
  static constexpr bool is_short = Choice::is_short;

  static constexpr double value_unit = [] {
    if constexpr (is_short) {
      return 1 / Choice::Short::unit;
    } else {
      return 1.;
    }
  }();
  static constexpr double gradient_unit = is_short ? 2.885390081777926815 : 2;  // 2 log2(e): E is a power of two

  // tanh(u / value_unit)
  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> value(const Pack<Scalar, n>& u) {
    // On magnitudes: near 0 a small P of either sign would take the sign from a zero.
    const auto size = each([](V x) { return magnitude(x); }, u);
    if constexpr (is_short) {
      using Short = typename Choice::Short;
      const auto a = each([](V x) { return number_at_most(x, Short::end); }, size);
      const auto m = each([](V x) { return at_most(x, Short::kink); }, size);
      const auto times = [](V x, V y, V sign) { return with_sign_of(x * y, sign); };
      return each(times, m, on_growing_pieces<Short>(a), u);
    } else if constexpr (Choice::on_table) {
      using Full = typename Choice::Full;
      const auto a = each([](V x) { return number_at_most(x, Full::end); }, size);
      const auto m = each([](V x) { return at_most(x, Full::kink); }, size);
      const auto sum = [](V x, V y, V sign) { return with_sign_of(fmadd(x, y, x), sign); };
      return each(sum, m, on_growing_pieces<Full>(a), u);
    } else {
      return gradient<true>(each([](V x) { return x * V(gradient_unit); }, u)).value;
    }
  }

  template <size_t n>
  struct Gradient {
    Pack<Scalar, n> value, slope;        // value means nothing where it is not asked for
    Several<LaneMask<Scalar>, n> alive;  // where not, the slope is 0 and what stands in `slope` means nothing
  };

  // Value, accurate enough for a sum of gradients, and slope of tanh at u / gradient_unit.
  template <bool want_value, size_t n>
  static inline __attribute__((always_inline)) Gradient<n> gradient(const Pack<Scalar, n>& u) {
    constexpr Scalar limit = is_double<T> ? 700 : is_short ? 125 : 87;  // up to there the slope is a normal number
    const auto a = each([](V x) { return at_most(magnitude(x), limit); }, u);
    const auto e = exponential(a);
    const auto w = each([](V x) { return x * reciprocal_of_normal(x + V(1)); }, e);
    Gradient<n> out;
    out.alive = each([](V x) { return not_equal(x, limit); }, a);
    out.slope = each([](V x) { return x * V(4) * (V(1) - x); }, w);
    if constexpr (want_value) {
      auto size = each([](V x) { return fnmadd(x, V(2), V(1)); }, w);
      if constexpr (!is_short && !Choice::on_table) {
        using Near = coefficients::TanhNear<Scalar>;
        const auto h = each([](V x) { return x * V(1 / gradient_unit); }, a);
        const auto p = polynomial(Near::polynomial, each([](V x) { return x * x; }, h));
        const auto near = each([](V x, V y) { return fmadd(x, y, x); }, h, p);
        const auto select = [](V x, V y, V z) { return select_greater(x, V(Near::join), y, z); };
        size = each(select, h, size, near);
      }
      out.value = each([](V x, V sign) { return with_sign_of(x, sign); }, size, u);
    }
    return out;
  }

 private:
  // e^-a, or 2^-a where is_short
  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> exponential(const Pack<Scalar, n>& a) {
    constexpr int entries = sizeof(Power::table) / sizeof(Power::table[0]);
    Pack<Scalar, n> minus_n, r;  // a = r and n parts of what halves the exponential
    if constexpr (is_short) {
      const V magic(round_magic<Scalar> / entries);
      minus_n = each([&](V x) { return magic - x; }, a);
      r = each([&](V x, V k) { return x + (k - magic); }, a, minus_n);
    } else {
      // ln 2 in two parts, as in erf.h
      constexpr Scalar log2_e = 1.442695040888963407, ln_2 = is_double<T> ? 0x1.62e42feep-1 : 0.693147180559945309;
      [[maybe_unused]] constexpr Scalar ln_2_rest = 0x1.a39ef35793c76p-33;
      const V magic(round_magic<Scalar>);
      minus_n = each([&](V x) { return fmadd(x, V(-log2_e * entries), magic); }, a);
      r = each([&](V x, V k) { return fmadd(k - magic, V(ln_2 / entries), x); }, a, minus_n);
      if constexpr (is_double<T>) {
        r = each([&](V x, V k) { return fmadd(k - magic, V(ln_2_rest), x); }, r, minus_n);
      }
    }
    const auto power = each([](V k) { return times_power_of_two<entries>(lookup(Power::table, k), k); }, minus_n);
    return each([](V x, V y, V z) { return fmadd(x * y, z, x); }, power, r, polynomial(Power::polynomial, r));
  }
};

}  // namespace derf::CPU_CAPABILITY

#else

namespace derf::cuda {

// Its own polynomial near 0, where 1 - 2 w has absolute accuracy only.
template <class T>
struct Tanh {
  using Number = std::conditional_t<std::is_same_v<T, double>, double, float>;
  static constexpr bool is_short = sizeof(T) == 2;
  using Near = std::conditional_t<is_short, coefficients::TanhNearInShortThread<float>,
                                  std::conditional_t<std::is_same_v<T, double>, coefficients::TanhNear<double>,
                                                     coefficients::TanhNearInThread<float>>>;

  DERF_THREAD static Number value(Number u) {
    const Number a = std::fabs(u), near = std::fma(a, horner<Near, 0, 1>(a * a), a);
    const Number far = std::fma(Number(-2), weight(a), Number(1));
    return std::copysign(a > Near::join ? far : near, u);  // NaN is near
  }

  DERF_THREAD static Number slope(Number u) {
    const Number w = weight(std::fabs(u));
    return 4 * w * (1 - w);
  }

 private:
  DERF_THREAD static float weight(float a) {
    const float e = exp2_approximately(a * -2.885390081777926815f);
    return is_short ? e * reciprocal_approximately(e + 1) : divide(e, e + 1);
  }
  DERF_THREAD static double weight(double a) {
    const double e = ::exp(-2 * a);
    return e / (e + 1);
  }
};

}  // namespace derf::cuda
#endif
