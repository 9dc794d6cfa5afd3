// A function of the family chosen at run time, for a thread: a switch that all threads take alike.
#pragma once
#define DERF_THREADS
#include "functions.h"

namespace derf::cuda {

template <class F, class Number>
DERF_THREAD Number value_of(Number u) {
  return F::value(u);
}
template <template <class> class F, class Number>
DERF_THREAD Number value_of(Number u) {
  return F<Number>::value(u);
}
template <class F, class Number>
DERF_THREAD ValueAndSlope<Number> value_and_slope_of(Number u) {
  return F::value_and_slope(u);
}
template <template <class> class F, class Number>
DERF_THREAD ValueAndSlope<Number> value_and_slope_of(Number u) {
  return {F<Number>::value(u), F<Number>::slope(u)};
}

// Calls, not copies: kernels stay small.
template <class Number>
DERF_THREAD_CALL Number any_value(Function f, Number u) {
  switch (f) {
#define DERF_ENTRY(name, Type) \
  case Function::name: return value_of<Type>(u);
    DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
  }
  return u;
}
template <class Number>
DERF_THREAD_CALL ValueAndSlope<Number> any_value_and_slope(Function f, Number u) {
  switch (f) {
#define DERF_ENTRY(name, Type) \
  case Function::name: return value_and_slope_of<Type>(u);
    DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
  }
  return {u, u};
}

}  // namespace derf::cuda
