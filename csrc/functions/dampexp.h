// e u e^-|u|, as in the studies of functions that are not monotone
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Dampexp {
  static constexpr Facts facts{"e * u * exp(-abs(u))", 1, 4, false, paper};
  static constexpr double e = 2.718281828459045235;

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u);
    return with_sign_of(times_exp_minus(at_most(a, number<V>(800)) * number<V>(e), a), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const V a = magnitude(u), x = (number<V>(1) - at_most(a, number<V>(800))) * number<V>(e);
    return {value(u), exp_minus(a) * x};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = at_most(magnitude(u), number<V>(800));
    return zero_where_zero(with_sign_of(times_exp_minus((a - number<V>(2)) * number<V>(e), a), u), a);
  }
};

}  // namespace DERF_WORLD
