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

// The operands of the operators that add nothing, one after the other.
enum Plain : size_t { X, A, S, W, B, PLAIN };

struct PointwiseNormBackward : SavingNode<PointwiseNormBackward, PLAIN, Options> {
  using SavingNode::SavingNode;
  static std::string shown(const Options& options) {
    return options.name == Name::derf ? "DerfBackward" : "PointwiseNormBackward";
  }

  // What the gradients that are asked for need. (Of input's size is input alone.)
  static Mask saves(const Mask& requires_grad) {
    const bool slope = requires_grad[X] || requires_grad[A] || requires_grad[S];
    const bool preactivation = slope || requires_grad[W];
    return {preactivation, preactivation, preactivation, preactivation, requires_grad[B]};
  }

  static List differentiate(at::ArrayRef<Tensor> grad_output, const std::array<Tensor, PLAIN>& saved,
                            const Options& options, const Mask& needed) {
    const auto& [x, alpha, shift, weight, bias] = saved;
    if (!grad_output[0].defined()) {
      return List(PLAIN);
    }
    if (!x.defined()) {
      return {{}, {}, {}, {}, composite::bias_gradient(grad_output[0], bias, options.channel_dim)};
    }
    auto g = call_backward(grad_output[0], {plain(x, alpha, shift, weight, bias), options}, of_plain(needed));
    return {std::move(g[INPUT]), std::move(g[ALPHA]), std::move(g[SHIFT]), std::move(g[WEIGHT]), std::move(g[BIAS])};
  }
};

// Saves grad_output, then the operands but bias.
struct PointwiseNormBackwardBackward : SavingNode<PointwiseNormBackwardBackward, PLAIN, Options> {
  using SavingNode::SavingNode;
  static std::string shown(const Options& options) {
    return options.name == Name::derf ? "DerfBackwardBackward" : "PointwiseNormBackwardBackward";
  }
  static Mask saves(const Mask&) { return {true, true, true, true, true}; }

  static List differentiate(at::ArrayRef<Tensor> grads, const std::array<Tensor, PLAIN>& saved, const Options& options,
                            const Mask&) {
    const Operands operands(plain(saved[1], saved[2], saved[3], saved[4], absent()), options);
    auto [grad_output, gradients] = composite::double_backward(grads, saved[0], operands);
    return {std::move(grad_output), std::move(gradients[INPUT]), std::move(gradients[ALPHA]),
            std::move(gradients[SHIFT]), std::move(gradients[WEIGHT])};
  }
};

// Saves the operands, in residual's place the sum.
struct AddPointwiseNormBackward : SavingNode<AddPointwiseNormBackward, OPERANDS, Options> {
  using SavingNode::SavingNode;
  static std::string shown(const Options&) { return "AddPointwiseNormBackward"; }

  // Of input's size is the sum alone, and input where a gradient of gate is wanted.
  static Mask saves(const Mask& requires_grad) {
    Mask saved = requires_grad;
    saved[BIAS] = false;
    const bool preactivation = saved != Mask{};
    saved = {};
    saved[INPUT] = requires_grad[GATE];
    saved[ALPHA] = saved[SHIFT] = saved[WEIGHT] = preactivation;
    saved[BIAS] = requires_grad[BIAS];
    saved[GATE] = requires_grad[INPUT] || requires_grad[GATE];
    return saved;
  }

  void save_sum(const Tensor& sum) {
    for (size_t i = 0; i < OPERANDS; ++i) {
      if (i != BIAS && next_edge(i).is_valid()) {
        return save_output(RESIDUAL, sum);
      }
    }
  }

  static List differentiate(at::ArrayRef<Tensor> grads, const std::array<Tensor, OPERANDS>& saved,
                            const Options& options, const Mask& needed) {
    const Tensor &grad_output = grads[0], &grad_sum = grads[1], &sum = saved[RESIDUAL];
    Borrowed operands{&saved[INPUT],  &absent(),    &saved[ALPHA], &saved[SHIFT],
                      &saved[WEIGHT], &saved[BIAS], &saved[GATE]};
    GradientList gradients;
    if (grad_output.defined() && sum.defined()) {
      Mask mask = needed;
      const bool alike = needed[INPUT] && !saved[GATE].defined() && grad_output.scalar_type() == sum.scalar_type();
      if (alike) {  // one tensor serves both
        mask[INPUT] = false;
        mask[RESIDUAL] = true;
      }
      gradients = call_add_backward({grad_output, grad_sum, sum}, {operands, options}, mask);
      if (alike) {
        gradients[INPUT] = gradients[RESIDUAL];
      }
      if (!needed[RESIDUAL]) {
        gradients[RESIDUAL].reset();
      }
    } else if (grad_output.defined()) {
      gradients[BIAS] = composite::bias_gradient(grad_output, saved[BIAS], options.channel_dim);
    } else if (grad_sum.defined()) {  // autograd rounds to the dtypes of input and residual
      if (!saved[INPUT].defined()) {
        operands[INPUT] = &grad_sum;
      }
      gradients = composite::sum_gradients(grad_sum, {operands, options}, needed);
    }
    return {std::make_move_iterator(gradients.begin()), std::make_move_iterator(gradients.end())};
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

Added add_forward(const Operands& operands) {
  if (any_has_tangent(operands)) {
    return composite::add_forward(operands);
  }
  const auto node = AddPointwiseNormBackward::make_if_needed(operands.options, operands.tensors());
  Added results = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return redispatch_add(operands, operands.keys & c10::after_ADInplaceOrView_keyset);
  }();
  if (node) {
    const auto& [output, sum] = results;
    torch::autograd::set_history(output, node);
    torch::autograd::set_history(sum, node);
    static_cast<AddPointwiseNormBackward&>(*node).save_sum(sum);
  }
  return results;
}

// Where this is to be differentiated, the composite is.
GradientList add_backward(const SumGradients& grads, const Operands& operands, Mask mask) {
  const Tensor* tensors[] = {&grads.output, &grads.sum, &grads.value};
  bool differentiated = any_has_tangent(operands);
  const auto look = [&](const Tensor& t) {
    differentiated |= torch::autograd::isFwGradDefined(t) || (at::GradMode::is_enabled() && t.requires_grad());
  };
  for (const Tensor* t : tensors) {
    look(*t);
  }
  for (const Tensor* t : operands.tensors()) {
    look(*t);
  }
  if (differentiated) {
    return composite::add_backward(grads, operands, mask);
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return redispatch_add_backward(grads, operands, mask, operands.keys & c10::after_ADInplaceOrView_keyset);
}

}  // namespace
}  // namespace derf::autograd

TORCH_LIBRARY_IMPL(derf, Autograd, m) {
  derf::implement<derf::autograd::forward, derf::autograd::backward>(m);
  derf::implement_add<derf::autograd::add_forward, derf::autograd::add_backward>(m);
}
