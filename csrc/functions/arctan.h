// 2/pi atan(u)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Arctan {
  static constexpr Facts facts{"2 / pi * atan(u)", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return with_sign_of(scaled_arctangent(magnitude(u)), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    return {value(u), divide(number<V>(0.636619772367581343), fmadd(u, u, number<V>(1)))};
  }

  template <class V>
  static V second_derivative(V u) {
    const V x = finite(u), r = divide(number<V>(1), fmadd(x, x, number<V>(1)));
    return x * r * r * number<V>(-1.273239544735162686);
  }
};

}  // namespace DERF_WORLD
