// Autograd in C++, so that it is there without Python. Each operator asks, in this order: forward-mode AD? then the
// composite, whose tangents are known; nothing to differentiate? then straight to the kernel; else a node of the graph
// around the kernel.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "../composite/composite.h"
#include "../registration.h"
#include "node.h"

namespace derf::autograd {
namespace {

struct PointwiseNormBackward : SavingNode<PointwiseNormBackward, OPERANDS, Options> {
  using SavingNode::SavingNode;
  static std::string shown(const Options& options) {
    return options.name == Name::derf ? "DerfBackward" : "PointwiseNormBackward";
  }

  // What the gradients that are asked for need. (Of input's size is input alone.)
  static Mask saves(const Mask& requires_grad) {
    const bool slope = requires_grad[INPUT] || requires_grad[ALPHA] || requires_grad[SHIFT];
    const bool preactivation = slope || requires_grad[WEIGHT];
    return {preactivation, preactivation, preactivation, preactivation, requires_grad[BIAS]};
  }

  static List differentiate(at::ArrayRef<Tensor> grad_output, const std::array<Tensor, OPERANDS>& saved,
                            const Options& options, const Mask& needed) {
    List result(OPERANDS);
    if (!grad_output[0].defined()) {
      return result;
    }
    if (!saved[INPUT].defined()) {
      result[BIAS] = composite::bias_gradient(grad_output[0], saved[BIAS], options.channel_dim);
      return result;
    }
    auto gradients = call_backward(grad_output[0], Operands(saved, options), needed);
    std::move(gradients.begin(), gradients.end(), result.begin());
    return result;
  }
};

// Saves grad_output, then the operands but bias.
struct PointwiseNormBackwardBackward : SavingNode<PointwiseNormBackwardBackward, OPERANDS, Options> {
  using SavingNode::SavingNode;
  static std::string shown(const Options& options) {
    return options.name == Name::derf ? "DerfBackwardBackward" : "PointwiseNormBackwardBackward";
  }
  static Mask saves(const Mask&) { return {true, true, true, true, true}; }

  static List differentiate(at::ArrayRef<Tensor> grads, const std::array<Tensor, OPERANDS>& saved,
                            const Options& options, const Mask&) {
    const std::array<Tensor, OPERANDS> operands{saved[1], saved[2], saved[3], saved[4]};
    auto [grad_output, gradients] = composite::double_backward(grads, saved[0], Operands(operands, options));
    return {std::move(grad_output), std::move(gradients[INPUT]), std::move(gradients[ALPHA]),
            std::move(gradients[SHIFT]), std::move(gradients[WEIGHT])};
  }
};

bool any_has_tangent(const Operands& operands) {
  for (size_t i = 0; i < OPERANDS; ++i) {
    if (torch::autograd::isFwGradDefined(operands[i])) {
      return true;
    }
  }
  return false;
}

Tensor forward(const Operands& operands) {
  if (any_has_tangent(operands)) {
    return composite::forward(operands);
  }
  const auto node = PointwiseNormBackward::make_if_needed(
      operands.options, {&operands[INPUT], &operands[ALPHA], &operands[SHIFT], &operands[WEIGHT], &operands[BIAS]});
  const Tensor output = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return redispatch(operands, operands.keys & c10::after_ADInplaceOrView_keyset);
  }();
  if (node) {
    torch::autograd::set_history(output, node);
  }
  return output;
}

GradientList backward(const Tensor& grad_output, const Operands& operands, Mask mask) {
  if (any_has_tangent(operands) || torch::autograd::isFwGradDefined(grad_output)) {
    return composite::backward(grad_output, operands, mask);
  }
  const auto node = PointwiseNormBackwardBackward::make_if_needed(
      operands.options, {&grad_output, &operands[INPUT], &operands[ALPHA], &operands[SHIFT], &operands[WEIGHT]});
  GradientList gradients = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return redispatch_backward(grad_output, operands, mask, operands.keys & c10::after_ADInplaceOrView_keyset);
  }();
  if (node) {
    for (const Tensor& gradient : gradients) {
      torch::autograd::set_history(gradient, node);
    }
  }
  return gradients;
}

}  // namespace
}  // namespace derf::autograd

TORCH_LIBRARY_IMPL(derf, Autograd, m) { derf::implement<derf::autograd::forward, derf::autograd::backward>(m); }
