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

GradientList backward(const Tensor& grad_output, const Operands& operands, Mask mask) {
  check(operands);
  check_grad_output(grad_output, operands.input());
  GradientList gradients;
  if (mask[INPUT]) {
    gradients[INPUT] = at::empty_like(operands.input());
  }
  for (size_t i = ALPHA; i < OPERANDS; ++i) {
    if (mask[i] && operands[i].defined()) {
      gradients[i] = at::empty_symint(operands[i].sym_sizes(), operands[i].options());
    }
  }
  return gradients;
}

}  // namespace
}  // namespace derf::meta

TORCH_LIBRARY_IMPL(derf, Meta, m) { derf::implement<derf::meta::forward, derf::meta::backward>(m); }
