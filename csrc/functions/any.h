// A function of the family chosen at run time, a table of pointers per instruction set: loops need no instantiation of
// their own for each function, which would take minutes to compile. Erf and tanh are here to full accuracy.
#pragma once
#include "functions.h"

namespace derf::CPU_CAPABILITY {

// n vectors, a multiple of two.
template <class Scalar>
struct AnyFunction {
  void (*value)(const Vec<Scalar>* u, Vec<Scalar>* value, int n);
  void (*gradient)(const Vec<Scalar>* u, Vec<Scalar>* value, Vec<Scalar>* slope, int n);
};

template <class F, class Scalar>
struct Any {
  static void value(const Vec<Scalar>* u, Vec<Scalar>* value, int n) {
    for (int i = 0; i < n; ++i) {
      value[i] = F::value(u[i]);
    }
  }
  static void gradient(const Vec<Scalar>* u, Vec<Scalar>* value, Vec<Scalar>* slope, int n) {
    for (int i = 0; i < n; ++i) {
      const auto both = F::value_and_slope(u[i]);
      value[i] = both.value;
      slope[i] = both.slope;
    }
  }
};

// Functions that are tuned for packs of vectors.
template <template <class> class F, class Scalar>
struct AnyTuned {
  using V = Vec<Scalar>;
  using Tuned = F<Scalar>;
  static void value(const V* u, V* value, int n) {
    for (int i = 0; i < n; i += 2) {
      const Pack<Scalar, 2> x{u[i] * V(Scalar(Tuned::value_unit)), u[i + 1] * V(Scalar(Tuned::value_unit))};
      const auto y = Tuned::value(x);
      value[i] = y[0];
      value[i + 1] = y[1];
    }
  }
  static void gradient(const V* u, V* value, V* slope, int n) {
    for (int i = 0; i < n; i += 2) {
      const Pack<Scalar, 2> x{u[i] * V(Scalar(Tuned::gradient_unit)), u[i + 1] * V(Scalar(Tuned::gradient_unit))};
      const auto y = Tuned::template gradient<true>(x);
      for (int k = 0; k < 2; ++k) {
        value[i + k] = y.value[k];
        slope[i + k] = keep(y.alive[k], y.slope[k]);
      }
    }
  }
};
template <class F, class Scalar>
constexpr AnyFunction<Scalar> any_entry() {
  return {&Any<F, Scalar>::value, &Any<F, Scalar>::gradient};
}
template <template <class> class F, class Scalar>
constexpr AnyFunction<Scalar> any_entry() {
  return {&AnyTuned<F, Scalar>::value, &AnyTuned<F, Scalar>::gradient};
}

template <class Scalar>
const AnyFunction<Scalar>& any_function(Function f) {
#define DERF_ENTRY(name, Type) any_entry<Type, Scalar>(),
  static constexpr AnyFunction<Scalar> table[] = {DERF_FUNCTIONS(DERF_ENTRY)};
#undef DERF_ENTRY
  return table[static_cast<int>(f)];
}

}  // namespace derf::CPU_CAPABILITY
