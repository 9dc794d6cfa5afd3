#define DERF_COMPOSITE
#include "composite.h"

namespace derf::composite {
namespace {

template <class F>
Tensor derivative(const Tensor& u, int64_t order) {
  switch (order) {
    case 0: return F::value(u);
    case 1: return F::value_and_slope(u).slope;
    default: return F::second_derivative(u);
  }
}

}  // namespace

Tensor formula(Function f, const Tensor& u, int64_t order) {
  switch (f) {
#define DERF_ENTRY(name, Type) \
  case Function::name: return derivative<Type>(u, order);
    DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace derf::composite

const derf::Facts& derf::facts_of(Function f) {
  static constexpr Facts facts[] = {
#define DERF_ENTRY(name, Type) composite::Type::facts,
      DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
  };
  return facts[static_cast<int>(f)];
}
