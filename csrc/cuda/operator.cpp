// The operators on CUDA: check, allocate, describe the call, launch. Nothing here waits for the device.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "../operators.h"
#include "../problem.h"
#include "launch.h"

#if !defined(DERF_CUDA_ON_HOST)
#include <c10/cuda/CUDAStream.h>
#endif

namespace derf::cuda {
namespace {

// Of the current device. (Where tests run the kernels on the host there is none.)
void* current_stream() {
#if defined(DERF_CUDA_ON_HOST)
  return nullptr;
#else
  return c10::cuda::getCurrentCUDAStream().stream();
#endif
}

void check_launch(const char* error) {
  TORCH_CHECK(!error, "derf: CUDA error: ", error, " (kernels compiled for: ", DERF_CUDA_ARCHITECTURES, ")");
}

Type type_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return Type::f64;
    case at::kFloat: return Type::f32;
    case at::kHalf: return Type::f16;
    default: return Type::bf16;
  }
}

Shape shape_of(const Problem& p) { return {p.outer, p.channels, p.inner}; }
Scalar scalar(const at::Tensor& tensor) { return {tensor.const_data_ptr(), type_of(tensor.scalar_type())}; }

at::Tensor forward(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                   int64_t channel_dim) {
  check(input, alpha, shift, weight, bias, channel_dim);
  const c10::DeviceGuard guard(input.device());
  const Problem p(input, weight, bias, channel_dim);
  const at::Tensor output = at::empty_like(p.input);
  if (output.numel() != 0) {
    const Forward call{
        .type = type_of(input.scalar_type()),
        .param_type = type_of(p.param_dtype()),
        .shape = shape_of(p),
        .input = p.input.const_data_ptr(),
        .output = output.mutable_data_ptr(),
        .weight = data(p.weight),
        .bias = data(p.bias),
        .alpha = scalar(alpha),
        .shift = scalar(shift),
    };
    check_launch(launch_forward(call, current_stream()));
  }
  return p.in_order_of(input, output);
}

Gradients backward(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
                   const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                   const std::optional<at::Tensor>& bias, int64_t channel_dim, std::array<bool, 5> output_mask) {
  check(input, alpha, shift, weight, bias, channel_dim);
  check_grad_output(grad_output, input);
  const c10::DeviceGuard guard(input.device());
  const Problem p(input, weight, bias, channel_dim);
  const auto wanted = [](bool mask, const at::Tensor& like) {
    return mask && like.defined() ? at::empty(like.sizes(), like.options()) : at::Tensor();
  };
  const at::Tensor grad_input = output_mask[0] ? at::empty_like(p.input) : at::Tensor();
  const at::Tensor grad_alpha = wanted(output_mask[1], alpha), grad_shift = wanted(output_mask[2], shift);
  const at::Tensor grad_weight = wanted(output_mask[3], p.weight), grad_bias = wanted(output_mask[4], p.bias);
  if (input.numel() == 0) {
    for (const at::Tensor& grad : {grad_alpha, grad_shift, grad_weight, grad_bias}) {
      if (grad.defined()) {
        grad.zero_();
      }
    }
  } else {
    const at::Tensor g = p.matching(grad_output);
    Backward call{
        .type = type_of(input.scalar_type()),
        .param_type = type_of(p.param_dtype()),
        .shape = shape_of(p),
        .grad_output = g.const_data_ptr(),
        .input = p.input.const_data_ptr(),
        .weight = data(p.weight),
        .alpha = scalar(alpha),
        .shift = scalar(shift),
        .grad_input = mutable_data(grad_input),
        .grad_alpha = mutable_data(grad_alpha),
        .grad_shift = mutable_data(grad_shift),
        .grad_weight = mutable_data(grad_weight),
        .grad_bias = mutable_data(grad_bias),
        .workspace = nullptr,
    };
    const at::Tensor workspace = at::empty({workspace_bytes(call)}, input.options().dtype(at::kByte));
    call.workspace = workspace.mutable_data_ptr();
    check_launch(launch_backward(call, current_stream()));
  }
  return {p.in_order_of(input, grad_input), grad_alpha, grad_shift, grad_weight, grad_bias};
}

}  // namespace
}  // namespace derf::cuda

#if !defined(DERF_CUDA_ON_HOST)
TORCH_LIBRARY_IMPL(derf, CUDA, m) {
  m.impl("derf", &derf::cuda::forward);
  m.impl("derf_backward", &derf::cuda::backward);
}
#endif
