// The operators in ATen's own: what forward AD, vmap over parameters, double backward, decompositions and devices
// without kernels run. The only other place with the kernels' mathematics; it agrees with them at NaN, infinities and
// alpha = 0.
#pragma once
#include "../functions/composite.h"
#include "../operands.h"

namespace derf::composite {

Tensor forward(const Operands& operands);

GradientList backward(const Tensor& grad_output, const Operands& operands, Mask mask);

// The gradients of grad_output and of the operands (but bias), given those of backward's results, any of which may be
// undefined. Undefined where none of them depends on it.
std::pair<Tensor, GradientList> double_backward(at::ArrayRef<Tensor> grads, const Tensor& grad_output,
                                                const Operands& operands);

// bias' gradient alone, which needs no input.
Tensor bias_gradient(const Tensor& grad_output, const Tensor& bias, int64_t channel_dim);

// t where the slope is not 0, else 0: never 0 * Inf.
Tensor where_alive(const Tensor& slope, const Tensor& t);

// The order-th derivative of f at u, through the dispatcher: differentiable, any number of times. (The formula itself,
// whose own derivatives ATen may not know, that of |u| at 0 say: functions/composite.h.)
Tensor function(Function f, const Tensor& u, int64_t order);

}  // namespace derf::composite
