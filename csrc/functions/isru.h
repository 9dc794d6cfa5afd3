// u / sqrt(u^2 + 1), the inverse square root unit
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Isru {
  static constexpr Facts facts{"u / sqrt(u**2 + 1)", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u), y = divide(a, square_root(fmadd(a, a, number<V>(1))));
    return with_sign_of(select_greater(a, number<V>(0x1p60), number<V>(1), y), u);  // where u^2 may be infinite
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), r = divide(number<V>(1), square_root(fmadd(a, a, number<V>(1))));
    return {with_sign_of(select_greater(a, number<V>(0x1p60), number<V>(1), a * r), u), r * r * r};
  }

  template <class V>
  static V second_derivative(V u) {
    const V x = finite(u), v = divide(number<V>(1), fmadd(x, x, number<V>(1)));
    return x * v * v * square_root(v) * number<V>(-3);
  }
};

}  // namespace DERF_WORLD
