// sign(u) log(|u| + 1)
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Logsign {
  static constexpr Facts facts{"sign(u) * log(abs(u) + 1)", no_bound, 4, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return with_sign_of(log1p(magnitude(u)), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    return {value(u), rough_reciprocal(magnitude(u) + number<V>(1))};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(u), r = divide(number<V>(1), a + number<V>(1));
    return zero_where_zero(with_sign_of(r * r, number<V>(0) - u), a);
  }
};

}  // namespace DERF_WORLD
