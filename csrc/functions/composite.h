// The family by PyTorch's own operations: for derivatives of higher order, transforms, and devices without kernels.
#pragma once
#include <ATen/core/Tensor.h>

#include "functions.h"

namespace derf::composite {

// f(u), or its first or second derivative; u is float32 or float64. Derivatives where there are none are 0.
at::Tensor formula(Function f, const at::Tensor& u, int64_t order);

}  // namespace derf::composite

namespace derf {

const Facts& facts_of(Function f);

// By its name; ValueError, with all names, where there is none.
Function function_of(std::string_view name);

}  // namespace derf
