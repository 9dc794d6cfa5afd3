// derf::add_pointwise_norm by its parts.
#include <ATen/ATen.h>

#include "composite.h"

namespace derf::composite {
namespace {

at::ScalarType arithmetic(const Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

Tensor as(const Tensor& tensor, at::ScalarType dtype) { return tensor.defined() ? tensor.to(dtype) : tensor; }

// gate in the dtype of arithmetic, so that it broadcasts against what is like input.
Tensor gate_beside(const Operands& operands) {
  const Tensor gate = aligned_gate(operands);
  return unsqueeze_to_channels(gate.to(arithmetic(operands.input())), operands.input().dim(),
                               operands.options.channel_dim);
}

Options of_the_function(Options options) {
  options.name = Name::pointwise_norm;
  return options;
}

}  // namespace

Tensor applied(const Operands& operands, const Tensor& x) {
  const bool alike = x.scalar_type() == operands.input().scalar_type();
  std::array<Tensor, OPERANDS> tensors;
  for (const size_t i : {ALPHA, SHIFT, WEIGHT, BIAS}) {
    tensors[i] = alike ? operands[i] : as(operands[i], x.scalar_type());
  }
  tensors[INPUT] = x;
  return call({tensors, of_the_function(operands.options)});
}

Added add_forward(const Operands& operands) {
  check(operands);
  const Tensor &input = operands.input(), &residual = operands[RESIDUAL];
  const auto wide = arithmetic(input);
  const Tensor sum = operands[GATE].defined()
                         ? (input.to(wide) * gate_beside(operands) + residual).to(residual.scalar_type())
                         : input + residual;
  return {applied(operands, sum).to(input.scalar_type()), sum};
}

GradientList sum_gradients(const Tensor& grad, const Operands& operands, const Mask& mask) {
  GradientList gradients;
  const Tensor& gate = operands[GATE];
  if (mask[RESIDUAL]) {
    gradients[RESIDUAL] = grad;
  }
  if (!gate.defined()) {
    gradients[INPUT] = mask[INPUT] ? grad : Tensor();
    return gradients;
  }
  const Tensor beside = gate_beside(operands);
  if (mask[INPUT]) {
    gradients[INPUT] = grad * beside;
  }
  if (mask[GATE]) {
    const Tensor products = grad * operands.input().to(arithmetic(grad));
    gradients[GATE] =
        products.sum_to_size_symint(beside.sym_sizes()).reshape_symint(gate.sym_sizes()).to(gate.scalar_type());
  }
  return gradients;
}

GradientList add_backward(const SumGradients& grads, const Operands& given, Mask mask) {
  const Operands operands = checked_add_backward(grads, given, mask);
  const auto wide = arithmetic(grads.output);
  std::array<Tensor, OPERANDS> tensors;
  for (const size_t i : {ALPHA, SHIFT, WEIGHT, BIAS}) {
    tensors[i] = as(operands[i], wide);
  }
  tensors[INPUT] = grads.value.to(wide);
  Mask of_function = mask;
  of_function[INPUT] = mask[INPUT] || mask[RESIDUAL] || mask[GATE];
  const Options options = of_the_function(operands.options);
  GradientList gradients = call_backward(grads.output.to(wide), {tensors, options}, of_function);
  for (const size_t i : {ALPHA, SHIFT, WEIGHT, BIAS}) {
    gradients[i] = gradients[i].defined() ? gradients[i].to(operands[i].scalar_type()) : Tensor();
  }
  if (gradients[INPUT].defined()) {
    const Tensor grad = grads.sum.defined() ? gradients[INPUT] + grads.sum : gradients[INPUT];
    const GradientList of_sum = sum_gradients(grad, operands, mask);
    gradients[INPUT] = as(of_sum[INPUT], grads.output.scalar_type());
    gradients[RESIDUAL] = as(of_sum[RESIDUAL], grads.value.scalar_type());
    gradients[GATE] = of_sum[GATE];
    if (gradients[INPUT].defined() && gradients[INPUT].is_same(gradients[RESIDUAL])) {
      gradients[INPUT] = gradients[INPUT].clone();  // no operator gives one tensor twice
    }
  }
  return gradients;
}

}  // namespace derf::composite
