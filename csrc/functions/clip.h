// Functions between -1 and 1, and their ends beyond. As with torch.clamp, the slope at an end is the inner one
#pragma once
#include "world.h"
#include "arcsinh.h"
#include "linear.h"
#include "logquad.h"
#include "logsign.h"
#include "power23.h"

namespace DERF_WORLD {

template <class Inner>
struct Clipped {
  template <class V>
  DERF_INLINE static V value(V u) {
    return with_sign_of(at_most(magnitude(Inner::value(u)), number<V>(1)), u);
  }

  // The slope is 0 just where the value is clipped.
  template <class V>
  DERF_INLINE static ValueAndSlope<V> value_and_slope(V u) {
    const auto inner = Inner::value_and_slope(u);
    const V a = magnitude(inner.value);
    const V slope = select_greater(a, number<V>(1), number<V>(0), inner.slope);
    return {with_sign_of(at_most(a, number<V>(1)), u), slope};
  }

  template <class V>
  static V second_derivative(V u) {
    const V a = magnitude(Inner::value(u));
    return select_greater(number<V>(1), a, Inner::second_derivative(u), nan_or_zero(u));
  }
};

struct LinearClip : Clipped<Linear> {
  static constexpr Facts facts{"clip(u, -1, 1)", 1, 0, true, paper};
};
struct LogsignClip : Clipped<Logsign> {
  static constexpr Facts facts{"clip(sign(u) * log(abs(u) + 1), -1, 1)", 1, 4, true, paper};
};
struct LogquadClip : Clipped<Logquad> {
  static constexpr Facts facts{"clip(sign(u) * log(u**2 + 1), -1, 1)", 1, 4, true, paper};
};
struct Power23Clip : Clipped<Power23> {
  static constexpr Facts facts{"clip(sign(u) * abs(u) ** (2 / 3), -1, 1)", 1, 4, true, paper};
};
struct ArcsinhClip : Clipped<Arcsinh> {
  static constexpr Facts facts{"clip(asinh(u), -1, 1)", 1, 4, true, paper};
};

}  // namespace DERF_WORLD
