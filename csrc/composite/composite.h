// The operators in ATen's own: what forward AD, vmap over parameters, double backward, decompositions and devices
// without kernels run. The only other place with the kernels' mathematics; it agrees with them at NaN, infinities and
// alpha = 0.
#pragma once
#include "../functions/composite.h"
#include "../operands.h"

namespace derf::composite {

Tensor forward(const Operands& operands);

GradientList backward(const Tensor& grad_output, const Operands& operands, Mask mask);

// derf::add_pointwise_norm by its parts: the sum in ATen's own, then derf::pointwise_norm, whose derivatives and
// transforms are known.
Added add_forward(const Operands& operands);
GradientList add_backward(const SumGradients& grads, const Operands& operands, Mask mask);
// The gradients of input, residual and gate from that of the sum; the first two in its dtype or a wider one.
GradientList sum_gradients(const Tensor& grad, const Operands& operands, const Mask& mask);

// derf::pointwise_norm of x, input or a sum, in x's dtype: that of input, or the one of arithmetic.
Tensor applied(const Operands& operands, const Tensor& x);

// derf::quantized_pointwise_norm.
std::tuple<Tensor, Tensor, Tensor> quantized(const Operands& operands, const Quantization& quantization);

// The gradients of grad_output and of the operands (but bias), given those of backward's results, any of which may be
// undefined. Undefined where none of them depends on it.
std::pair<Tensor, GradientList> double_backward(at::ArrayRef<Tensor> grads, const Tensor& grad_output,
                                                const Operands& operands);

// bias' gradient alone, which needs no input.
Tensor bias_gradient(const Tensor& grad_output, const Tensor& bias, int64_t channel_dim);

// t where the slope is not 0, else 0: never 0 * Inf.
Tensor zero_where_flat(const Tensor& slope, const Tensor& t);

// The order-th derivative of f at u, through the dispatcher: differentiable, any number of times. (The formula itself,
// whose own derivatives ATen may not know, that of |u| at 0 say: functions/composite.h.)
Tensor function(Function f, const Tensor& u, int64_t order);

}  // namespace derf::composite
