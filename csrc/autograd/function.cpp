// derf::function(Tensor u, str function, int order=0): a function of the family or a derivative of it, element by
// element, differentiable any number of times in every mode. The composite is made of it.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "../composite/composite.h"
#include "../registration.h"
#include "node.h"

namespace derf {
namespace {

const auto& function_operator() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("derf::function", "")
                             .typed<Tensor(const Tensor&, std::string_view, int64_t)>();
  return op;
}

}  // namespace
}  // namespace derf

namespace derf::composite {

Tensor function(Function f, const Tensor& u, int64_t order) { return function_operator().call(u, name_of(f), order); }

}  // namespace derf::composite

namespace derf::autograd {
namespace {

struct Derivative {
  Function function;
  int64_t order;

  std::vector<double> packed() const { return {double(function), double(order)}; }
  static Derivative unpacked(const std::vector<double>& n) { return {Function(int(n[0])), int64_t(n[1])}; }
};

Derivative derivative(const Tensor& u, std::string_view function, int64_t order) {
  TORCH_CHECK(u.layout() == at::kStrided, "derf: u must be a strided tensor, but has layout ", u.layout());
  TORCH_CHECK(u.scalar_type() == at::kFloat || u.scalar_type() == at::kDouble,
              "derf: u must have dtype Float or Double, but has ", u.scalar_type());
  TORCH_CHECK_VALUE(order >= 0 && order <= 2, "derf: order must be 0, 1 or 2, but is ", order);
  return {function_of(function), order};
}

struct FunctionBackward : SavingNode<FunctionBackward, 1, Derivative> {
  using SavingNode::SavingNode;
  static std::string shown(const Derivative&) { return "FunctionBackward"; }
  static Mask saves(const Mask&) { return {true}; }

  static List differentiate(at::ArrayRef<Tensor> grad, const std::array<Tensor, 1>& saved, const Derivative& d,
                            const Mask&) {
    if (!grad[0].defined()) {
      return {Tensor()};
    }
    const Tensor slope = composite::function(d.function, saved[0], d.order + 1);
    return {composite::zero_where_flat(slope, grad[0] * slope)};
  }
};

Tensor plain(const Tensor& u, std::string_view function, int64_t order) {
  const auto [f, n] = derivative(u, function, order);
  return composite::formula(f, u, n);
}

Tensor differentiable(c10::DispatchKeySet keys, const Tensor& u, std::string_view function, int64_t order) {
  const Derivative d = derivative(u, function, order);
  if (order == 2) {  // smooth but for single points: ATen's own derivatives of the formula serve
    return composite::formula(d.function, u, order);
  }
  const auto node = FunctionBackward::make_if_needed(d, {&u});
  const Tensor value = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return function_operator().redispatch(keys & c10::after_ADInplaceOrView_keyset, u, function, order);
  }();
  if (node) {
    torch::autograd::set_history(value, node);
  }
  if (torch::autograd::isFwGradDefined(u)) {
    constexpr uint64_t level = 0;
    const Tensor slope = composite::function(d.function, u._fw_primal(level), order + 1);
    value._set_fw_grad(composite::zero_where_flat(slope, u._fw_grad(level) * slope), level, /*is_inplace_op=*/false);
  }
  return value;
}

Tensor batched(const Tensor& u, std::string_view function, int64_t order) {
  const auto* wrapper = at::functorch::maybeGetBatchedImpl(u);
  const c10::impl::ExcludeDispatchKeyGuard beyond(c10::DispatchKey::FuncTorchBatched);
  const Tensor value = composite::function(function_of(function), wrapper->value(), order);
  return at::functorch::makeBatched(value, wrapper->bdim(), wrapper->level());
}

}  // namespace
}  // namespace derf::autograd

TORCH_LIBRARY_IMPL(derf, CompositeImplicitAutograd, m) {
  derf::implement_pointwise_norm<derf::composite::forward, derf::composite::backward>(m, "_composite");
  derf::implement_add<derf::composite::add_forward, derf::composite::add_backward>(m, "_composite");
  m.impl("function_composite", &derf::autograd::plain);
}
TORCH_LIBRARY_IMPL(derf, CompositeExplicitAutograd, m) { m.impl("function", &derf::autograd::plain); }
TORCH_LIBRARY_IMPL(derf, Autograd, m) { m.impl("function", &derf::autograd::differentiable); }
TORCH_LIBRARY_IMPL(derf, FuncTorchBatched, m) { m.impl("function", &derf::autograd::batched); }
