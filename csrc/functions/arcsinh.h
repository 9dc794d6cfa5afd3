// asinh(u), the inverse of the hyperbolic sine
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Arcsinh {
  static constexpr Facts facts{"asinh(u)", no_bound, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return with_sign_of(arcsinh(magnitude(u)), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    return {value(u), divide(number<V>(1), square_root(fmadd(u, u, number<V>(1))))};
  }

  template <class V>
  static V second_derivative(V u) {
    const V x = finite(u), v = divide(number<V>(1), fmadd(x, x, number<V>(1)));
    return x * v * square_root(v) * number<V>(-1);
  }
};

}  // namespace DERF_WORLD
