// u^3 / (|u|^3 + 1)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Cubsign {
  static constexpr Facts facts{"u**3 / (abs(u)**3 + 1)", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u), cube = a * a * a;
    const V y = divide(cube, cube + number<V>(1));
    return with_sign_of(select_greater(a, number<V>(0x1p20), number<V>(1), y), u);  // where u^3 may be infinite
  }

  // slope = 3 u^2 / (|u|^3 + 1)^2
  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), cube = a * a * a, r = divide(number<V>(1), cube + number<V>(1));
    const V root = at_most(a, number<V>(0x1p60)) * r;
    const V y = select_greater(a, number<V>(0x1p20), number<V>(1), cube * r);
    return {with_sign_of(y, u), root * root * number<V>(3)};
  }

  template <class V>
  static V second_derivative(V u) {
    const V x = finite(u), a = magnitude(x), r = divide(number<V>(1), a * a * a + number<V>(1));
    return x * r * r * fmadd(r, number<V>(18), number<V>(-12));
  }
};

}  // namespace DERF_WORLD
