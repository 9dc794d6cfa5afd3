// u / (sqrt(u^2 + 1) + 1)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Relsign {
  static constexpr Facts facts{"u / (sqrt(u**2 + 1) + 1)", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u), s = square_root(fmadd(a, a, number<V>(1)));
    const V y = divide(a, s + number<V>(1));
    return with_sign_of(select_greater(a, number<V>(0x1p60), number<V>(1), y), u);  // where u^2 may be infinite
  }

  // slope = 1 / (s (s + 1)), s = sqrt(u^2 + 1)
  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), s = square_root(fmadd(a, a, number<V>(1)));
    const V r = divide(number<V>(1), fmadd(s, s, s));
    return {with_sign_of(select_greater(a, number<V>(0x1p60), number<V>(1), a * (s * r)), u), r};
  }

  template <class V>
  static V second_derivative(V u) {
    const V x = finite(u), s = square_root(fmadd(x, x, number<V>(1)));
    const V r = divide(number<V>(1), s * (s + number<V>(1)));
    return x * r * r * (number<V>(-2) - divide(number<V>(1), s));
  }
};

}  // namespace DERF_WORLD
