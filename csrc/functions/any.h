// A function of the family chosen at run time, a table of pointers per instruction set: loops need no instantiation of
// their own for each function, which would take minutes to compile. Erf and tanh are here to full accuracy.
#pragma once
#include "functions.h"

namespace derf::CPU_CAPABILITY {

// n vectors, an even number, that are aligned to vectors. They may be read and written in the same place. (Not arrays
// of Vec: those are filled with zeros first, and copied where they are returned.)
template <class Scalar>
struct AnyFunction {
  void (*value)(const Scalar* u, Scalar* value, int n);
  void (*gradient)(const Scalar* u, Scalar* value, Scalar* slope, int n);
};

template <class Scalar>
inline __attribute__((always_inline)) Pack<Scalar, 2> load_two(const Scalar* from) {
  return {Vec<Scalar>::loadu(from), Vec<Scalar>::loadu(from + Vec<Scalar>::size())};
}
template <class Scalar>
inline __attribute__((always_inline)) void store_two(Scalar* to, const Pack<Scalar, 2>& x) {
  x[0].store(to);
  x[1].store(to + Vec<Scalar>::size());
}

template <class F, class Scalar>
struct Any {
  using V = Vec<Scalar>;
  static void value(const Scalar* u, Scalar* value, int n) {
    for (int i = 0; i < n * V::size(); i += V::size()) {
      F::value(V::loadu(u + i)).store(value + i);
    }
  }
  static void gradient(const Scalar* u, Scalar* value, Scalar* slope, int n) {
    for (int i = 0; i < n * V::size(); i += V::size()) {
      const auto both = F::value_and_slope(V::loadu(u + i));
      both.value.store(value + i);
      both.slope.store(slope + i);
    }
  }
};

// Functions that are tuned for packs of vectors.
template <template <class> class F, class Scalar>
struct AnyTuned {
  using V = Vec<Scalar>;
  using Tuned = F<Scalar>;
  static void value(const Scalar* u, Scalar* value, int n) {
    for (int i = 0; i < n * V::size(); i += 2 * V::size()) {
      store_two(value + i, Tuned::value(in_unit(load_two(u + i), Tuned::value_unit)));
    }
  }
  static void gradient(const Scalar* u, Scalar* value, Scalar* slope, int n) {
    for (int i = 0; i < n * V::size(); i += 2 * V::size()) {
      const auto y = Tuned::template gradient<true>(in_unit(load_two(u + i), Tuned::gradient_unit));
      store_two(value + i, y.value);
      store_two(slope + i, each([](auto alive, V x) { return select_or_zero(alive, x); }, y.alive, y.slope));
    }
  }

 private:
  static inline __attribute__((always_inline)) Pack<Scalar, 2> in_unit(const Pack<Scalar, 2>& u, double unit) {
    return each([&](V x) { return x * V(Scalar(unit)); }, u);
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
