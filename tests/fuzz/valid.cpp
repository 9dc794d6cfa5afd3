// What README.md says an operator takes, a second time: "What is supported", and the docstrings of derf.functional.
#include <cmath>

#include "call.h"
#include "functions.h"

namespace fuzz {
namespace {

bool is_16_bit(at::ScalarType t) { return t == at::kHalf || t == at::kBFloat16; }
bool is_float(at::ScalarType t) { return is_16_bit(t) || t == at::kFloat || t == at::kDouble; }
bool plain(const Tensor& t) { return t.defined() && t.is_cpu() && t.layout() == at::kStrided; }

// Of input's dtype, or float32 beside 16 bits.
bool fits_dtype(at::ScalarType input, const Tensor& t) {
  return t.scalar_type() == input || (is_16_bit(input) && t.scalar_type() == at::kFloat);
}
bool is_one(const Tensor& t) { return t.numel() == 1 && t.dim() <= 1; }

// Dimensions that end with the channels, those before the last of input's size, or of size 1 where that is allowed.
bool ends_with_channels(at::IntArrayRef input, int64_t channel, const Tensor& t, bool ones) {
  const int64_t first = channel + 1 - t.dim();
  if (t.dim() == 0 || first < 0) {
    return false;
  }
  for (int64_t i = 0; i < t.dim(); ++i) {
    if (t.size(i) != input[first + i] && !(ones && i + 1 < t.dim() && t.size(i) == 1)) {
      return false;
    }
  }
  return true;
}

bool fits_scalar(at::IntArrayRef input, int64_t channel, const Tensor& t) {
  const bool last = channel + 1 == int64_t(input.size());
  return is_one(t) || (ends_with_channels(input, channel, t, false) && (last || t.dim() == 1));
}

bool fits_gate(at::IntArrayRef input, int64_t channel, const Tensor& t) {
  const int64_t first = t.dim() == int64_t(input.size()) ? 0 : channel + 1 - t.dim();
  for (int64_t i = 0; i < t.dim(); ++i) {
    if (first < 0 || (t.size(i) != 1 && (first + i > channel || t.size(i) != input[first + i]))) {
      return false;
    }
  }
  return first >= 0;
}

bool valid_options(const Call& c) {
  const bool finite = std::isfinite(c.weight_offset) && std::isfinite(c.dead_zone) && std::isfinite(c.input_shift) &&
                      std::isfinite(c.output_shift);
  return finite && c.dead_zone >= 0 && c.linear_mix >= 0 && c.linear_mix <= 1 && (!c.clip || *c.clip > 0) &&
         (c.sign == 1 || c.sign == -1) && function_named<double>(c.function) &&
         (c.linear_mix == 0 || c.function != "linear") && (c.weight_offset == 0 || c.tensor("weight").defined());
}

// The first and the last byte of a tensor that has elements.
std::pair<const char*, const char*> extent(const Tensor& t) {
  int64_t last = 0;
  for (int64_t i = 0; i < t.dim(); ++i) {
    last += (t.size(i) - 1) * t.stride(i);
  }
  const auto* first = static_cast<const char*>(t.const_data_ptr());
  return {first, first + (last + 1) * int64_t(t.element_size()) - 1};
}

bool meet(const Tensor& a, const Tensor& b) {
  return extent(a).first <= extent(b).second && extent(b).first <= extent(a).second;
}

bool valid_memory(const Call& c, const Tensor& out) {
  const Tensor input = c.tensor("input");
  if (out.numel() == 0) {
    return true;
  }
  for (int64_t i = 0; i < out.dim(); ++i) {  // each step beyond all that the smaller ones reach
    int64_t reach = 0;
    for (int64_t k = 0; k < out.dim(); ++k) {
      if (k != i && out.size(k) > 1 && (out.stride(k) < out.stride(i) || (out.stride(k) == out.stride(i) && k < i))) {
        reach += (out.size(k) - 1) * out.stride(k);
      }
    }
    if (out.size(i) > 1 && out.stride(i) <= reach) {
      return false;
    }
  }
  const bool same = out.is_same(input) || (out.const_data_ptr() == input.const_data_ptr() &&
                                           out.strides() == input.strides() && out.sizes() == input.sizes());
  if (!same && meet(out, input)) {
    return false;
  }
  for (const char* name : {"alpha", "shift", "weight", "bias"}) {
    const Tensor t = c.tensor(name);
    if (t.defined() && t.numel() != 0 && meet(out, t)) {
      return false;
    }
  }
  return true;
}

bool alike(const Tensor& a, const Tensor& b) { return plain(b) && a.sizes() == b.sizes(); }

}  // namespace

bool is_valid(const Call& c) {
  for (const auto& [name, tensor] : c.tensors) {
    if (!plain(tensor)) {
      return false;
    }
  }
  for (const auto& argument : c.op->schema().arguments()) {
    const std::string& name = argument.name();
    // (An undefined shift is none, in derf::derf too.)
    if (argument.type()->kind() == c10::TypeKind::TensorType && name != "shift" && !c.tensors.contains(name)) {
      return false;
    }
  }
  if (c.is_function()) {
    const auto dtype = c.tensor("u").scalar_type();
    return (dtype == at::kFloat || dtype == at::kDouble) && c.order >= 0 && c.order <= 2 &&
           function_named<double>(c.function);
  }
  const bool takes_options = !c.is("derf") && !c.is("derf_") && !c.is("derf_backward");
  if (takes_options && !valid_options(c)) {
    return false;
  }
  const bool without_input = c.is_add_backward() && !c.tensors.contains("input");
  if (without_input && c.output_mask[6] && c.tensors.contains("gate")) {
    return false;
  }
  const Tensor input = c.tensor(without_input ? "grad_output" : "input");
  const auto dtype = input.scalar_type();
  const int64_t dims = std::max<int64_t>(input.dim(), 1);
  if (!is_float(dtype) || c.channel_dim < -dims || c.channel_dim >= dims) {
    return false;
  }
  const int64_t channel = input.dim() == 0 ? -1 : (c.channel_dim + dims) % dims;
  for (const char* name : {"alpha", "shift"}) {
    const Tensor t = c.tensor(name);
    if (t.defined() && (!fits_dtype(dtype, t) || !fits_scalar(input.sizes(), channel, t))) {
      return false;
    }
  }
  for (const char* name : {"weight", "bias"}) {
    const Tensor t = c.tensor(name);
    if (t.defined() && (!fits_dtype(dtype, t) || !ends_with_channels(input.sizes(), channel, t, true))) {
      return false;
    }
  }
  const Tensor alpha = c.tensor("alpha"), shift = c.tensor("shift"), weight = c.tensor("weight"),
               bias = c.tensor("bias"), gate = c.tensor("gate");
  if (shift.defined() && (alpha.scalar_type() != shift.scalar_type() || is_one(alpha) != is_one(shift) ||
                          (!is_one(alpha) && alpha.dim() != shift.dim()))) {
    return false;
  }
  if (weight.defined() && bias.defined() &&
      (weight.scalar_type() != bias.scalar_type() || weight.dim() != bias.dim())) {
    return false;
  }
  if (gate.defined() && (!fits_dtype(dtype, gate) || !fits_gate(input.sizes(), channel, gate) ||
                         (c.is_quantized() && !c.tensors.contains("residual")))) {
    return false;
  }
  for (const char* name : {"residual", "sum"}) {
    const Tensor t = c.tensor(name);
    if (t.defined() && (!fits_dtype(dtype, t) || !alike(input, t))) {
      return false;
    }
  }
  const Tensor grad_output = c.tensor("grad_output"), grad_sum = c.tensor("grad_sum"), scale = c.tensor("scale"),
               out = c.in_place() ? input : c.tensor("out"), sum = c.tensor(c.is_add_backward() ? "sum" : "residual");
  if (grad_output.defined() && (!alike(input, grad_output) || grad_output.scalar_type() != dtype)) {
    return false;
  }
  if (grad_sum.defined() && (!alike(input, grad_sum) || grad_sum.scalar_type() != sum.scalar_type())) {
    return false;
  }
  if (out.defined() && (!alike(input, out) || out.scalar_type() != dtype || !valid_memory(c, out))) {
    return false;
  }
  if (scale.defined()) {
    const bool one = is_one(scale);
    if (scale.scalar_type() != at::kFloat ||
        (!one && (channel < 0 || scale.dim() != 1 || scale.size(0) != input.size(channel)))) {
      return false;
    }
    // The composite serves devices where values cannot be read without waiting.
    if (!c.composite && !(scale.isfinite() & (scale > 0)).all().item<bool>()) {
      return false;
    }
  }
  return true;
}

bool is_huge(const Call& c) {
  for (const auto& [name, tensor] : c.tensors) {
    for (const int64_t size : tensor.sizes()) {
      if (size >= int64_t(1) << 36) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace fuzz
