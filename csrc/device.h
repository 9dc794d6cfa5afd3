// The one way through a device: check, describe, allocate, launch. A Device supplies, static,
//   Guard                                         what makes the tensors' device the current one
//   Tensor empty(sizes, strides or none, like, dtype)  fresh memory
//   void forward(const Forward&, like), void backward(const Backward&, like)   launches; `like` is on their device
#pragma once
#include "layout.h"

namespace derf {

template <class Device>
Tensor forward_on(const Operands& operands) {
  check(operands);
  const typename Device::Guard guard(operands.input().device());
  const Layout layout(operands);
  const Tensor output = Device::empty(layout.input.sizes(), layout.input.strides(), layout.input);
  if (output.numel() != 0) {
    Device::forward({layout.call, output.mutable_data_ptr()}, output);
  }
  return layout.restore(output);
}

template <class Device>
GradientList backward_on(const Tensor& grad_output, const Operands& operands, Mask mask) {
  check(operands);
  check_grad_output(grad_output, operands.input());
  const typename Device::Guard guard(operands.input().device());
  Layout layout(operands);
  GradientList gradients;
  Result results[OPERANDS];
  if (mask[INPUT]) {
    gradients[INPUT] = Device::empty(layout.input.sizes(), layout.input.strides(), layout.input);
  }
  for (size_t i = ALPHA; i < OPERANDS; ++i) {
    if (mask[i] && operands[i].defined()) {
      const auto [sizes, dtype] = layout.gradient_of(i);
      gradients[i] = Device::empty(sizes, layout.input, dtype);
      results[i] = {gradients[i].mutable_data_ptr(), type_of(dtype)};
    }
  }
  if (layout.input.numel() != 0) {
    Device::backward({layout.call, layout.matching(grad_output), mutable_data(gradients[INPUT]), results[ALPHA],
                      results[SHIFT], results[WEIGHT], results[BIAS]},
                     layout.input);
  } else {
    for (size_t i = ALPHA; i < OPERANDS; ++i) {
      if (gradients[i].defined()) {
        gradients[i].zero_();
      }
    }
  }
  gradients[INPUT] = layout.restore(gradients[INPUT]);
  for (size_t i = ALPHA; i < OPERANDS; ++i) {
    gradients[i] = layout.finish_gradient(i, std::move(gradients[i]));
  }
  return gradients;
}

}  // namespace derf
