// For the operators of inference, which have no backward.
#pragma once
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "../operands.h"

namespace derf::autograd {

// Refuses a tensor that autograd follows. where: "where the output is ..."; instead: what has a backward.
inline void refuse_gradients(const Tensor& tensor, const char* name, const char* where, const char* instead) {
  if (!tensor.defined()) {
    return;
  }
  TORCH_CHECK(!at::GradMode::is_enabled() || !tensor.requires_grad(), "derf: ", name, " must not require a gradient ",
              where, ": call it under torch.no_grad() or torch.inference_mode(), or ", instead);
  TORCH_CHECK(!torch::autograd::isFwGradDefined(tensor), "derf: ", name, " must have no tangent (forward-mode AD) ",
              where);
}

}  // namespace derf::autograd
