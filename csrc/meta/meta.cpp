// Shapes, dtypes and strides of the results, for meta and fake tensors: what the kernels return, without the numbers.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "../registration.h"

namespace derf::meta {
namespace {

Tensor forward(const Operands& operands) {
  check(operands);
  return at::empty_like(operands.input());
}

GradientList of_parameters(const Operands& operands, const Mask& mask) {
  GradientList gradients;
  for (size_t i = ALPHA; i < OPERANDS; ++i) {
    if (mask[i] && operands[i].defined()) {
      gradients[i] = at::empty_symint(operands[i].sym_sizes(), operands[i].options());
    }
  }
  return gradients;
}

GradientList backward(const Tensor& grad_output, const Operands& operands, Mask mask) {
  check(operands);
  check_grad_output(grad_output, operands.input());
  GradientList gradients = of_parameters(operands, mask);
  if (mask[INPUT]) {
    gradients[INPUT] = at::empty_like(operands.input());
  }
  return gradients;
}

Added add_forward(const Operands& operands) {
  check(operands);
  const Tensor& input = operands.input();
  return {at::empty_like(input), at::empty_like(input, operands[RESIDUAL].scalar_type())};
}

GradientList add_backward(const SumGradients& grads, const Operands& operands, Mask mask) {
  checked_add_backward(grads, operands, mask);
  GradientList gradients = of_parameters(operands, mask);
  if (mask[INPUT]) {
    gradients[INPUT] = at::empty_like(grads.value, grads.output.scalar_type());
  }
  if (mask[RESIDUAL]) {
    gradients[RESIDUAL] = at::empty_like(grads.value);
  }
  return gradients;
}

}  // namespace
}  // namespace derf::meta

TORCH_LIBRARY_IMPL(derf, Meta, m) {
  derf::implement<derf::meta::forward, derf::meta::backward>(m);
  derf::implement_add<derf::meta::add_forward, derf::meta::add_backward>(m);
}
