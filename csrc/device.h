// The one way through a device: check, describe, allocate, launch. A Device supplies, static,
//   Guard                                         what makes the tensors' device the current one
//   Tensor empty(sizes, strides, dtype, like), empty(sizes, like, dtype)   fresh memory; `like` is on the same device
//   void forward(const Forward&, like), void backward(const Backward&, like)   launches; `like` is on their device
#pragma once
#include "layout.h"

namespace derf {

template <class Device>
Tensor forward_on(const Operands& operands) {
  check(operands);
  const typename Device::Guard guard(operands.input().device());
  const Layout layout(operands);
  const Tensor& input = layout.input;
  const Tensor output = Device::empty(input.sizes(), input.strides(), input.scalar_type(), input);
  if (output.numel() != 0) {
    Device::forward({layout.call, output.mutable_data_ptr()}, output);
  }
  return layout.restore(output);
}

template <class Device>
Added add_forward_on(const Operands& operands) {
  check(operands);
  const typename Device::Guard guard(operands.input().device());
  Layout layout(operands);
  const Tensor& residual = operands[RESIDUAL];
  const Tensor output =
      Device::empty(layout.input.sizes(), layout.input.strides(), layout.input.scalar_type(), residual);
  const Tensor sum = Device::empty(layout.input.sizes(), layout.input.strides(), residual.scalar_type(), residual);
  if (output.numel() != 0) {
    layout.call.sum_type = type_of(residual.scalar_type());
    Device::forward({layout.call, output.mutable_data_ptr(), layout.matching(residual), sum.mutable_data_ptr()},
                    output);
  }
  return {layout.restore(output), layout.restore(sum)};
}

// The gradients of parameters, from their allocation to what is returned.
template <class Device>
struct ParameterGradients {
  const Layout& layout;
  GradientList& gradients;
  Result results[OPERANDS];

  ParameterGradients(const Layout& layout_, const Operands& operands, const Mask& mask, GradientList& gradients_)
      : layout(layout_), gradients(gradients_) {
    for (size_t i = ALPHA; i < OPERANDS; ++i) {
      if (mask[i] && operands[i].defined()) {
        const auto [sizes, dtype] = layout.gradient_of(i);
        gradients[i] = Device::empty(sizes, layout.input, dtype);
        results[i] = {gradients[i].mutable_data_ptr(), type_of(dtype)};
      }
    }
  }

  void set_to_zero() {
    for (size_t i = ALPHA; i < OPERANDS; ++i) {
      if (gradients[i].defined()) {
        gradients[i].zero_();
      }
    }
  }

  void finish() {
    for (size_t i = ALPHA; i < OPERANDS; ++i) {
      gradients[i] = layout.finish_gradient(i, std::move(gradients[i]));
    }
  }
};

template <class Device>
GradientList backward_on(const Tensor& grad_output, const Operands& operands, Mask mask) {
  check(operands);
  check_grad_output(grad_output, operands.input());
  const typename Device::Guard guard(operands.input().device());
  Layout layout(operands);
  const Tensor& input = layout.input;
  GradientList gradients;
  if (mask[INPUT]) {
    gradients[INPUT] = Device::empty(input.sizes(), input.strides(), input.scalar_type(), input);
  }
  ParameterGradients<Device> parameters(layout, operands, mask, gradients);
  const auto& to = parameters.results;
  if (input.numel() != 0) {
    Device::backward({layout.call, layout.matching(grad_output), mutable_data(gradients[INPUT]), to[ALPHA], to[SHIFT],
                      to[WEIGHT], to[BIAS]},
                     input);
  } else {
    parameters.set_to_zero();
  }
  gradients[INPUT] = layout.restore(gradients[INPUT]);
  parameters.finish();
  return gradients;
}

template <class Device>
GradientList add_backward_on(const SumGradients& grads, const Operands& given, Mask mask) {
  const Operands operands = checked_add_backward(grads, given, mask);
  const auto& [grad_output, grad_sum, sum] = grads;
  const typename Device::Guard guard(sum.device());
  Layout layout(operands, sum);
  const Tensor& like = layout.input;
  GradientList gradients;
  for (const auto& [index, dtype] : {std::pair(INPUT, grad_output.scalar_type()), {RESIDUAL, sum.scalar_type()}}) {
    if (mask[index]) {
      gradients[index] = Device::empty(like.sizes(), like.strides(), dtype, like);
    }
  }
  ParameterGradients<Device> parameters(layout, operands, mask, gradients);
  const auto& to = parameters.results;
  if (like.numel() != 0) {
    layout.call.sum_type = type_of(sum.scalar_type());
    layout.call.input = gradients[GATE].defined() ? layout.matching(operands.input()) : nullptr;
    Device::backward(
        {layout.call, layout.matching(grad_output), mutable_data(gradients[INPUT]), to[ALPHA], to[SHIFT], to[WEIGHT],
         to[BIAS], like.const_data_ptr(), layout.matching(grad_sum), mutable_data(gradients[RESIDUAL]), to[GATE]},
        like);
  } else {
    parameters.set_to_zero();
  }
  for (const size_t i : {INPUT, RESIDUAL}) {
    gradients[i] = layout.restore(gradients[i]);
  }
  parameters.finish();
  return gradients;
}

}  // namespace derf
