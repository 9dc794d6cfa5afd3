#define DERF_COMPOSITE
#include "composite.h"

#include "../operators.h"

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

derf::Function derf::function_of(std::string_view name) {
  const auto f = function_named(name);
  TORCH_CHECK_VALUE(f, "derf: function must be one of ", all_function_names(), ", but is \"", name, "\"");
  return *f;
}

const derf::Facts& derf::facts_of(Function f) {
  static constexpr Facts facts[] = {
#define DERF_ENTRY(name, Type) composite::Type::facts,
      DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
  };
  return facts[static_cast<int>(f)];
}

std::vector<std::tuple<std::string, std::string, double, double, bool, std::string>> derf::functions() {
  std::vector<std::tuple<std::string, std::string, double, double, bool, std::string>> all;
  for (int i = 0; i < function_count; ++i) {
    const Facts& f = facts_of(static_cast<Function>(i));
    all.emplace_back(function_names[i], f.formula, f.bound, f.float32_ulp, f.monotone, f.source);
  }
  return all;
}

void derf::evaluate_composite(const std::string& function, const std::string& dtype, int order, uintptr_t u,
                              uintptr_t result, int64_t count) {
  const Function f = function_of(function);
  const bool wide = dtype == "float64";
  TORCH_CHECK_VALUE(wide || dtype == "float32", "derf: dtype must be float64 or float32, but is \"", dtype, "\"");
  TORCH_CHECK_VALUE(order >= 0 && order <= 2 && count >= 0, "derf: order must be 0, 1 or 2, count not negative");
  const auto tensor = [&](uintptr_t data) {
    return at::from_blob(reinterpret_cast<void*>(data), {count}, wide ? at::kDouble : at::kFloat);
  };
  tensor(result).copy_(composite::formula(f, tensor(u), order));
}
