// sin(u) between -pi/2 and pi/2, and the sign of u beyond
#pragma once
#include "world.h"

namespace DERF_WORLD {

struct Satursin {
  static constexpr Facts facts{"sin(clip(u, -pi / 2, pi / 2))", 1, 4, true, paper};
  static constexpr double end = 1.570796326794896619;

  template <class V>
  DERF_INLINE static V value(V u) {
    const V a = magnitude(u);
    return with_sign_of(select_greater(a, number<V>(end - 0x1p-28), number<V>(1), quarter_sine(a)), u);
  }

  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    return {value(u), quarter_cosine(magnitude(u))};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(u);
    return with_sign_of(select_greater(number<V>(end), a, sine(a), nan_or_zero(u)), number<V>(0) - u);
  }
};

}  // namespace DERF_WORLD
