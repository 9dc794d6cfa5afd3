// sign(u) (1 - e^-|u|)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Expsign {
  static constexpr Facts facts{"sign(u) * (1 - exp(-abs(u)))", 1, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return with_sign_of(one_minus_exp_minus(magnitude(u)), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    return {value(u), exp_minus(magnitude(u))};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(u);
    return zero_where_zero(with_sign_of(exp_minus(a), number<V>(0) - u), a);
  }
};

}  // namespace DERF_WORLD
