// u / (1 + |u|)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Smoothsign {
  static constexpr Facts facts{"u / (1 + abs(u))", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u), y = divide(a, a + number<V>(1));
    return with_sign_of(select_greater(a, number<V>(0x1p60), number<V>(1), y), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), r = divide(number<V>(1), a + number<V>(1));
    return {with_sign_of(select_greater(a, number<V>(0x1p60), number<V>(1), a * r), u), r * r};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(u), r = divide(number<V>(1), a + number<V>(1));
    return zero_where_zero(with_sign_of(r * r * r * number<V>(2), number<V>(0) - u), a);
  }
};

}  // namespace DERF_WORLD
