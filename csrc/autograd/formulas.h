// The operators written in differentiable ATen: what transforms (forward AD, vmap, torch.func) and higher derivatives
// run, where a fused kernel cannot be looked into. Slower, and as exact as ATen's own erf and exp.
#pragma once
#include "../derf.h"

namespace derf::formulas {

at::Tensor forward(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias, int64_t channel_dim);

Gradients backward(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
                   const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                   const std::optional<at::Tensor>& bias, int64_t channel_dim, std::array<bool, 5> output_mask);

// Gradients of backward's results, `grads`, with respect to grad_output, input, alpha, shift and weight; where none of
// `grads` depends on one it stays undefined.
std::array<at::Tensor, 5> double_backward(const std::array<at::Tensor, 5>& grads, const at::Tensor& grad_output,
                                          const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                                          const std::optional<at::Tensor>& weight, int64_t channel_dim);

}  // namespace derf::formulas
