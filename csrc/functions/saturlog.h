// sign(u) L / (L + 1), L = log(|u| + 1)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Saturlog {
  static constexpr Facts facts{"sign(u) * log(abs(u) + 1) / (log(abs(u) + 1) + 1)", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u), log = at_most(log1p(a), number<V>(800));
    const V y = divide_by_small(log, log + number<V>(1));
    return with_sign_of(select_infinite(a, number<V>(1), y), u);
  }

  // slope = 1 / ((|u| + 1) (L + 1)^2)
  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), r = rough_reciprocal(at_most(log1p(a), number<V>(800)) + number<V>(1));
    return {value(u), r * r * rough_reciprocal(a + number<V>(1))};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(finite(u)), log = log1p(a), r = divide(number<V>(1), log + number<V>(1));
    const V s = divide(r, a + number<V>(1));
    return zero_where_zero(with_sign_of(s * s * r * (log + number<V>(3)), number<V>(0) - u), a);
  }
};

}  // namespace DERF_WORLD
