// The operators written in differentiable ATen: what forward AD, vmap over parameters and derivatives from the second
// on run, where a fused kernel cannot be looked into. Slower, and as exact as ATen's own erf and exp.
#pragma once
#include "../operators.h"

namespace derf::formulas {

at::Tensor forward(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias, int64_t channel_dim);

Gradients backward(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
                   const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                   const std::optional<at::Tensor>& bias, int64_t channel_dim, std::array<bool, 5> output_mask);

// The gradients of grad_output, input, alpha, shift and weight, given those of backward's five results, any of which
// may be undefined. Undefined where none of them depends on it.
Gradients double_backward(at::ArrayRef<at::Tensor> grads, const at::Tensor& grad_output, const at::Tensor& input,
                          const at::Tensor& alpha, const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                          int64_t channel_dim);

}  // namespace derf::formulas
