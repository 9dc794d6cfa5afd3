// sign(u) |u|^(2/3); the slope is 0 at 0 by definition, where it would be infinite
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Power23 {
  static constexpr Facts facts{"sign(u) * abs(u) ** (2 / 3)", no_bound, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u);
    return with_sign_of(select_infinite(a, a, a * inverse_cube_root(a)), u);
  }

  // slope = 2/3 |u|^(-1/3)
  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), r = inverse_cube_root(a);
    const V slope = select_infinite(a, number<V>(0), r * number<V>(2. / 3));
    return {with_sign_of(select_infinite(a, a, a * r), u), zero_where_zero(slope, a)};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(finite(u)), r = inverse_cube_root(a);
    return zero_where_infinite(with_sign_of(r * r * r * r * number<V>(2. / 9), number<V>(0) - u), a);
  }
};

}  // namespace DERF_WORLD
