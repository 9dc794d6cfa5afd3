// sign(u) (1 - e^-sqrt|u|); the slope is 0 at 0 by definition, where it would be infinite
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Exproot {
  static constexpr Facts facts{"sign(u) * (1 - exp(-sqrt(abs(u))))", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return with_sign_of(one_minus_exp_minus(square_root(magnitude(u))), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), root = square_root(a);
    const V slope = exp_minus(root) * number<V>(0.5) * rough_reciprocal(root);
    return {with_sign_of(one_minus_exp_minus(root), u), zero_where_zero(slope, a)};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(u), s = square_root(a), r = divide(number<V>(0.5), s);
    const V x = at_most(s, number<V>(0x1p60)) + number<V>(1);
    return zero_where_infinite(with_sign_of(exp_minus(s) * r * r * x * divide(number<V>(1), s), number<V>(0) - u), a);
  }
};

}  // namespace DERF_WORLD
