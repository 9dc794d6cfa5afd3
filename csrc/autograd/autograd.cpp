// Autograd in C++, so that it is there without Python. Each operator asks, in this order: forward-mode AD? then the
// formulas in ATen, whose tangents ATen knows; nothing to differentiate? then straight to the kernel; else a node of
// the graph around the kernel.
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "../problem.h"
#include "formulas.h"
#include "node.h"

namespace derf {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

OptionalTensor or_absent(const Tensor& t) { return t.defined() ? OptionalTensor(t) : std::nullopt; }

template <class... Tensors>
bool any_has_tangent(const Tensors&... t) {
  return (torch::autograd::isFwGradDefined(t) || ...);
}

struct DerfBackward : SavingNode<DerfBackward> {
  using SavingNode::SavingNode;
  static constexpr auto shown = "DerfBackward";

  static List differentiate(at::ArrayRef<Tensor> grad_output, at::ArrayRef<Tensor> saved, int64_t channel_dim,
                            Mask needed) {
    if (!grad_output[0].defined()) {
      return List(needed.size());
    }
    auto [input, alpha, shift, weight, bias] = derf_backward(
        grad_output[0], saved[0], saved[1], saved[2], or_absent(saved[3]), or_absent(saved[4]), channel_dim, needed);
    return {std::move(input), std::move(alpha), std::move(shift), std::move(weight), std::move(bias)};
  }
};

struct DerfBackwardBackward : SavingNode<DerfBackwardBackward> {
  using SavingNode::SavingNode;
  static constexpr auto shown = "DerfBackwardBackward";

  static List differentiate(at::ArrayRef<Tensor> grads, at::ArrayRef<Tensor> saved, int64_t channel_dim, Mask) {
    auto [grad_output, input, alpha, shift, weight] =
        formulas::double_backward(grads, saved[0], saved[1], saved[2], saved[3], or_absent(saved[4]), channel_dim);
    return {std::move(grad_output), std::move(input), std::move(alpha), std::move(shift), std::move(weight)};
  }
};

Tensor forward(const Tensor& input, const Tensor& alpha, const Tensor& shift, const OptionalTensor& weight,
               const OptionalTensor& bias, int64_t channel_dim) {
  if (any_has_tangent(input, alpha, shift, weight, bias)) {
    return formulas::forward(input, alpha, shift, weight, bias, channel_dim);
  }
  const auto node = DerfBackward::make_if_needed(channel_dim, input, alpha, shift, weight, bias);
  const Tensor output = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return derf(input, alpha, shift, weight, bias, channel_dim);
  }();
  if (node) {
    torch::autograd::set_history(output, node);
  }
  return output;
}

Gradients backward(const Tensor& grad_output, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                   const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim,
                   std::array<bool, 5> output_mask) {
  if (any_has_tangent(grad_output, input, alpha, shift, weight)) {
    return formulas::backward(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
  }
  const auto node = DerfBackwardBackward::make_if_needed(channel_dim, grad_output, input, alpha, shift, weight);
  const Gradients grads = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return derf_backward(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
  }();
  if (node) {
    std::apply([&](const auto&... grad) { (torch::autograd::set_history(grad, node), ...); }, grads);
  }
  return grads;
}

}  // namespace
}  // namespace derf

TORCH_LIBRARY_IMPL(derf, Autograd, m) {
  m.impl("derf", &derf::forward);
  m.impl("derf_backward", &derf::backward);
}
