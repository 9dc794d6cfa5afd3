// asinh(u), the inverse of the hyperbolic sine
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Arcsinh {
  static constexpr Facts facts{"asinh(u)", no_bound, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return with_sign_of(of_magnitude(magnitude(u)), u);
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

 private:
  // log(1 + a + a^2 / (1 + sqrt(a^2 + 1))), without loss near 0, and log(2 a) where a^2 may be infinite
  template <class V>
  DERF_INLINE static V of_magnitude(V a) {
    const V v = a * a, x = a + divide(v, square_root(v + number<V>(1)) + number<V>(1));
    const auto large = number<V>(0x1p60);
    const V log = log1p(select_greater(a, large, a, x));
    return select_greater(a, large, log + number<V>(0.693147180559945309), log);
  }
};

}  // namespace DERF_WORLD
