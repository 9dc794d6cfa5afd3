// sign(u) log(u^2 + 1)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Logquad {
  static constexpr Facts facts{"sign(u) * log(u**2 + 1)", no_bound, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u);
    const auto large = number<V>(0x1p60);  // from there on u^2 may be infinite
    const V log = log1p(select_greater(a, large, a, a * a));
    return with_sign_of(select_greater(a, large, log + log, log), u);
  }

  // slope = 2 |u| / (u^2 + 1)
  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), x = at_most(a, number<V>(0x1p60));
    return {value(u), (x + x) * rough_reciprocal(fmadd(a, a, number<V>(1)))};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(finite(u)), r = divide(number<V>(1), fmadd(a, a, number<V>(1)));
    const V second = ((number<V>(1) - a) * r) * ((a + number<V>(1)) * r) * number<V>(2);
    return zero_where_zero(with_sign_of(second, u), a);
  }
};

}  // namespace DERF_WORLD
