// Shapes, dtypes and strides of the results, for meta and fake tensors: what the kernels return, without the numbers.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "../operators.h"
#include "../problem.h"

namespace {

at::Tensor forward(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                   int64_t channel_dim) {
  derf::check(input, alpha, shift, weight, bias, channel_dim);
  return at::empty_like(input);
}

at::Tensor contiguous_like(bool wanted, const at::Tensor& tensor) {
  return wanted && tensor.defined() ? at::empty_symint(tensor.sym_sizes(), tensor.options()) : at::Tensor();
}

derf::Gradients backward(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
                         const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                         const std::optional<at::Tensor>& bias, int64_t channel_dim, std::array<bool, 5> output_mask) {
  derf::check(input, alpha, shift, weight, bias, channel_dim);
  derf::check_grad_output(grad_output, input);
  return {output_mask[0] ? at::empty_like(input) : at::Tensor(), contiguous_like(output_mask[1], alpha),
          contiguous_like(output_mask[2], shift), contiguous_like(output_mask[3], weight.value_or(at::Tensor())),
          contiguous_like(output_mask[4], bias.value_or(at::Tensor()))};
}

}  // namespace

TORCH_LIBRARY_IMPL(derf, Meta, m) {
  m.impl("derf", &forward);
  m.impl("derf_backward", &backward);
}
