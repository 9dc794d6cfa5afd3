// The call itself, by the operator's schema.
#include <torch/csrc/autograd/autograd.h>

#include "call.h"

namespace fuzz {
namespace {

c10::IValue argument(const Call& c, const c10::Argument& a) {
  const std::string& name = a.name();
  if (a.type()->kind() == c10::TypeKind::TensorType) {
    return c.tensor(name);
  }
  if (name == "function") return c.function;
  if (name == "channel_dim") return c.channel_dim;
  if (name == "sign") return c.sign;
  if (name == "order") return c.order;
  if (name == "weight_offset") return c.weight_offset;
  if (name == "dead_zone") return c.dead_zone;
  if (name == "input_shift") return c.input_shift;
  if (name == "linear_mix") return c.linear_mix;
  if (name == "output_shift") return c.output_shift;
  if (name == "clip") return c.clip ? c10::IValue(*c.clip) : c10::IValue();
  if (name == "dtype") return int64_t(c.dtype);
  if (name == "unquantized") return c.unquantized;
  if (name == "output_mask") {
    c10::List<bool> mask;
    for (const bool wanted : c.output_mask) {
      mask.push_back(wanted);
    }
    return mask;
  }
  const Tensor t = c.tensor(name);
  return t.defined() ? c10::IValue(t) : c10::IValue();
}

}  // namespace

std::map<std::string, Tensor> run(const Call& c) {
  torch::jit::Stack stack;
  std::vector<std::pair<std::string, Tensor>> leaves;
  for (const auto& a : c.op->schema().arguments()) {
    c10::IValue value = argument(c, a);
    if (c.through_autograd && value.isTensor() && value.toTensor().defined()) {
      Tensor leaf = value.toTensor().detach().requires_grad_();
      leaves.emplace_back(a.name(), leaf);
      value = leaf;
    }
    stack.push_back(value);
  }
  c.op->callBoxed(stack);
  std::map<std::string, Tensor> results;
  std::vector<std::string> names{"output"};
  if (c.is_add_backward()) {
    names = {"input", "residual", "alpha", "shift", "weight", "bias", "gate"};
  } else if (c.is_backward()) {
    names = {"input", "alpha", "shift", "weight", "bias"};
  } else if (c.is_quantized()) {
    names = {"quantized", "output", "sum"};
  } else if (c.is("add_pointwise_norm")) {
    names = {"output", "sum"};
  }
  TORCH_CHECK(stack.size() == names.size(), "not derf's fault: ", c.name, " gives ", stack.size(), " results");
  for (size_t i = 0; i < names.size(); ++i) {
    const Tensor t = stack[i].isTensor() ? stack[i].toTensor() : Tensor();
    if (t.defined()) {
      results[names[i]] = t;
    }
  }
  if (c.through_autograd) {
    torch::autograd::variable_list roots{results["output"]}, grads{c.tensor("grad_output")}, inputs;
    if (const Tensor grad_sum = c.tensor("grad_sum"); grad_sum.defined()) {
      roots.push_back(results["sum"]);
      grads.push_back(grad_sum);
    }
    for (const auto& [name, leaf] : leaves) {
      inputs.push_back(leaf);
    }
    const auto gradients = torch::autograd::grad(roots, inputs, grads, false, false, /*allow_unused=*/true);
    for (auto& [name, result] : results) {
      result = result.detach();
    }
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (gradients[i].defined()) {
        results[leaves[i].first] = gradients[i];
      }
    }
  }
  return results;
}

}  // namespace fuzz
