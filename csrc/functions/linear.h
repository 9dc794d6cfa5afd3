// u, as in the studies of functions that are not bounded
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Linear {
  static constexpr Facts facts{"u", no_bound, 0, true, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return u;
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    return {u, fmadd(at_most(magnitude(u), number<V>(1)), number<V>(0), number<V>(1))};  // NaN for NaN
  }

  template <class V>
  static V second_derivative(V u) {
    return nan_or_zero(u);
  }
};

}  // namespace DERF_WORLD
