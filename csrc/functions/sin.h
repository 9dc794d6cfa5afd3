// sin(u), as in the studies of functions that are not monotone
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Sin {
  static constexpr Facts facts{"sin(u)", 1, 4, false, paper};

  template <class V>
  DERF_INLINE static V value(V u) {
    return sine(u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    return {sine(u), cosine(u)};
  }

  template <class V>
  static V second_derivative(V u) {
    return number<V>(0) - sine(u);
  }
};

}  // namespace DERF_WORLD
