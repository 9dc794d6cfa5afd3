// placeholder until the family is merged
#pragma once
#include "tanh.h"
#include "functions.h"
#define DERF_FUNCTIONS(X) X(erf, Erf) X(tanh, Tanh) X(linear, Linear)
namespace derf::cuda {
template <class Number> struct ValueAndSlope { Number value, slope; };
struct Linear {};
template <class F, class Number> DERF_THREAD Number value_of(Number u) { return u; }
template <template <class> class F, class Number> DERF_THREAD Number value_of(Number u) { return F<Number>::value(u); }
template <class F, class Number> DERF_THREAD ValueAndSlope<Number> value_and_slope_of(Number u) { return {u, u - u + 1}; }
template <template <class> class F, class Number> DERF_THREAD ValueAndSlope<Number> value_and_slope_of(Number u) { return {F<Number>::value(u), F<Number>::slope(u)}; }
}
