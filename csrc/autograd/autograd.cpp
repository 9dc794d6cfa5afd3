// Autograd in C++, so that it is there without Python. Each operator asks, in this order: forward-mode AD? then the
// formulas in ATen (a Function would silently give no tangent); nothing to differentiate? then straight to the kernel;
// inside torch.func? then the formulas (its transforms cannot enter a Function); else a Function around the kernel.
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "../problem.h"
#include "formulas.h"

namespace derf {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;

Tensor or_undefined(const OptionalTensor& t) { return t.value_or(Tensor()); }
OptionalTensor or_absent(const Tensor& t) { return t.defined() ? OptionalTensor(t) : std::nullopt; }

bool has_tangent(const OptionalTensor& t) { return is_given(t) && torch::autograd::isFwGradDefined(*t); }
bool requires_grad(const OptionalTensor& t) { return is_given(t) && t->requires_grad(); }

template <class... Tensors>
bool any_has_tangent(const Tensors&... t) {
  return (has_tangent(t) || ...);
}
template <class... Tensors>
bool any_requires_grad(const Tensors&... t) {
  return at::GradMode::is_enabled() && (requires_grad(t) || ...);
}
bool inside_functorch() {
  return c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::FuncTorchDynamicLayerBackMode);
}

// Functions are named for the node that they make: what grad_fn shows.
struct DerfBackward : torch::autograd::Function<DerfBackward> {
  static constexpr bool is_traceable = true;  // for compiled autograd

  static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                        const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->set_materialize_grads(false);
    ctx->saved_data["channel_dim"] = channel_dim;
    ctx->save_for_backward({input, alpha, shift, or_undefined(weight), or_undefined(bias)});
    return derf(input, alpha, shift, weight, bias, channel_dim);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_output) {
    if (!grad_output[0].defined()) {
      return variable_list(6);
    }
    const auto saved = ctx->get_saved_variables();
    std::array<bool, 5> mask{};
    size_t edge = 0;  // absent tensors have no edge
    for (size_t i = 0; i < mask.size(); ++i) {
      mask[i] = saved[i].defined() && ctx->needs_input_grad(edge++);
    }
    const auto [input, alpha, shift, weight, bias] =
        derf_backward(grad_output[0], saved[0], saved[1], saved[2], or_absent(saved[3]), or_absent(saved[4]),
                      ctx->saved_data["channel_dim"].toInt(), mask);
    return {input, alpha, shift, weight, bias, Tensor()};
  }
};

// A Function must not return undefined tensors: only what the mask asks for goes through it.
struct DerfBackwardBackward : torch::autograd::Function<DerfBackwardBackward> {
  static constexpr bool is_traceable = true;

  static variable_list forward(AutogradContext* ctx, const Tensor& grad_output, const Tensor& input,
                               const Tensor& alpha, const Tensor& shift, const OptionalTensor& weight,
                               const OptionalTensor& bias, int64_t channel_dim, std::vector<bool> wanted) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->set_materialize_grads(false);
    ctx->saved_data["channel_dim"] = channel_dim;
    std::array<bool, 5> mask;
    std::copy(wanted.begin(), wanted.end(), mask.begin());
    ctx->saved_data["wanted"] = c10::List<bool>(mask);
    ctx->save_for_backward({grad_output, input, alpha, shift, or_undefined(weight)});
    const auto [g0, g1, g2, g3, g4] = derf_backward(grad_output, input, alpha, shift, weight, bias, channel_dim, mask);
    variable_list given;
    for (const Tensor& grad : {g0, g1, g2, g3, g4}) {
      if (grad.defined()) {
        given.push_back(grad);
      }
    }
    return given;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_grads) {
    const auto saved = ctx->get_saved_variables();
    const auto wanted = ctx->saved_data["wanted"].toBoolList();
    std::array<Tensor, 5> grads;
    size_t next = 0;
    for (size_t i = 0; i < grads.size(); ++i) {
      if (wanted[i]) {
        grads[i] = grad_grads[next++];
      }
    }
    const auto [grad_output, input, alpha, shift, weight] = formulas::double_backward(
        grads, saved[0], saved[1], saved[2], saved[3], or_absent(saved[4]), ctx->saved_data["channel_dim"].toInt());
    return {grad_output, input, alpha, shift, weight, Tensor(), Tensor(), Tensor()};
  }
};

Tensor forward(const Tensor& input, const Tensor& alpha, const Tensor& shift, const OptionalTensor& weight,
               const OptionalTensor& bias, int64_t channel_dim) {
  if (any_has_tangent(input, alpha, shift, weight, bias)) {
    return formulas::forward(input, alpha, shift, weight, bias, channel_dim);
  }
  if (!any_requires_grad(input, alpha, shift, weight, bias)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return derf(input, alpha, shift, weight, bias, channel_dim);
  }
  if (inside_functorch()) {
    return formulas::forward(input, alpha, shift, weight, bias, channel_dim);
  }
  return DerfBackward::apply(input, alpha, shift, weight, bias, channel_dim);
}

Gradients backward(const Tensor& grad_output, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                   const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim,
                   std::array<bool, 5> output_mask) {
  if (any_has_tangent(grad_output, input, alpha, shift, weight)) {
    return formulas::backward(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
  }
  if (!any_requires_grad(grad_output, input, alpha, shift, weight)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return derf_backward(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
  }
  if (inside_functorch()) {
    return formulas::backward(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
  }
  output_mask[3] = output_mask[3] && is_given(weight);
  output_mask[4] = output_mask[4] && is_given(bias);
  const auto given = DerfBackwardBackward::apply(grad_output, input, alpha, shift, weight, bias, channel_dim,
                                                 std::vector<bool>(output_mask.begin(), output_mask.end()));
  std::array<Tensor, 5> all;
  size_t next = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (output_mask[i]) {
      all[i] = given[next++];
    }
  }
  return {all[0], all[1], all[2], all[3], all[4]};
}

}  // namespace
}  // namespace derf

TORCH_LIBRARY_IMPL(derf, Autograd, m) {
  m.impl("derf", &derf::forward);
  m.impl("derf_backward", &derf::backward);
}

// vmap: ATen's batching rules do the rest.
TORCH_LIBRARY_IMPL(derf, FuncTorchBatched, m) {
  m.impl("derf", &derf::formulas::forward);
  m.impl("derf_backward", &derf::formulas::backward);
}
