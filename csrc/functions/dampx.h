// 2u / (1 + u^2), as in the studies of functions that are not monotone
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Dampx {
  static constexpr Facts facts{"2 * u / (1 + u**2)", 1, 4, false, paper};

  // Where u^2 may be infinite, 2/u, both halves of it times 2^-64.
  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u);
    const auto large = number<V>(0x1p60);
    const V below = select_greater(a, large, a * number<V>(0x1p-64), fmadd(a, a, number<V>(1)));
    return with_sign_of(divide(select_greater(a, large, number<V>(0x1p-63), a + a), below), u);
  }

  // slope = 2 (1 - u^2) / (1 + u^2)^2
  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), x = at_most(a, number<V>(0x1p60));
    const auto one = number<V>(1);
    const V r = divide(number<V>(1), fmadd(a, a, number<V>(1)));
    return {value(u), ((one - x) * r) * ((x + one) * r) * number<V>(2)};
  }

  template <class V>
  static V second_derivative(V u) {
    const V x = finite(u), r = divide(number<V>(1), fmadd(x, x, number<V>(1)));
    return x * r * r * fmadd(r, number<V>(-16), number<V>(4));
  }
};

}  // namespace DERF_WORLD
