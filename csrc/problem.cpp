#include "problem.h"

#include <ATen/WrapDimUtils.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/SymIntArrayRef.h>
#include <c10/util/SmallVector.h>

#include <algorithm>

namespace derf {
namespace {

bool is_16_bit(at::ScalarType t) { return t == at::kHalf || t == at::kBFloat16; }

void check_parameter(const at::Tensor& input, const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.device() == input.device(), "derf: ", name, " must be on the device of input, ", input.device(),
              ", but is on ", tensor.device());
  TORCH_CHECK(tensor.layout() == at::kStrided, "derf: ", name, " must be a strided tensor, but has layout ",
              tensor.layout());
  const auto dtype = tensor.scalar_type(), expected = input.scalar_type();
  const bool wide = is_16_bit(expected);
  TORCH_CHECK(dtype == expected || (wide && dtype == at::kFloat), "derf: ", name, " must have the dtype of input, ",
              expected, wide ? ", or Float" : "", ", but has ", dtype);
}

void check_same_dtype(const at::Tensor& first, const char* first_name, const at::Tensor& second, const char* name) {
  TORCH_CHECK(first.scalar_type() == second.scalar_type(), "derf: ", name, " must have the dtype of ", first_name, ", ",
              first.scalar_type(), ", but has ", second.scalar_type());
}

void check_one_element(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.dim() <= 1, "derf: ", name, " must have one element, of shape [1] or [], but has shape ",
              tensor.sym_sizes());
  TORCH_SYM_CHECK(tensor.sym_numel().sym_eq(1), "derf: ", name,
                  " must have one element, of shape [1] or [], but has shape ", tensor.sym_sizes());
}

// weight or bias: trailing dimensions where `dim` is the last one of input, else that dimension alone.
void check_channels(const at::Tensor& input, const at::Tensor& tensor, const char* name, int64_t dim) {
  const auto sizes = tensor.sym_sizes();
  if (dim + 1 < input.dim()) {
    TORCH_CHECK(sizes.size() == 1, "derf: ", name, " must have one dimension, of size ", input.sym_size(dim),
                " as dimension ", dim, " of input (channel_dim), but has shape ", sizes);
    TORCH_SYM_CHECK(sizes[0].sym_eq(input.sym_size(dim)), "derf: ", name, " must have shape [", input.sym_size(dim),
                    "] as dimension ", dim, " of input (channel_dim), but has shape ", sizes);
    return;
  }
  TORCH_CHECK(sizes.size() >= 1 && int64_t(sizes.size()) <= input.dim(), "derf: ", name,
              " must have the shape of trailing dimensions of input, whose shape is ", input.sym_sizes(),
              ", but has shape ", sizes);
  const auto trailing = input.sym_sizes().slice(input.dim() - sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    TORCH_SYM_CHECK(sizes[i].sym_eq(trailing[i]), "derf: ", name,
                    " must have the shape of trailing dimensions of input, ", trailing, ", but has shape ", sizes);
  }
}

}  // namespace

void check(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
           const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias, int64_t channel_dim) {
  const auto dtype = input.scalar_type();
  TORCH_CHECK(input.layout() == at::kStrided, "derf: input must be a strided tensor, but has layout ", input.layout());
  TORCH_CHECK(dtype == at::kDouble || dtype == at::kFloat || is_16_bit(dtype),
              "derf: input must have dtype Double, Float, Half or BFloat16, but has ", dtype);
  TORCH_CHECK_INDEX(
      -std::max<int64_t>(input.dim(), 1) <= channel_dim && channel_dim < std::max<int64_t>(input.dim(), 1),
      "derf: channel_dim must be a dimension of input, in [", -std::max<int64_t>(input.dim(), 1), ", ",
      std::max<int64_t>(input.dim(), 1) - 1, "], but is ", channel_dim);
  const int64_t dim = at::maybe_wrap_dim(channel_dim, input.dim());
  check_parameter(input, alpha, "alpha");
  check_parameter(input, shift, "shift");
  check_same_dtype(alpha, "alpha", shift, "shift");
  check_one_element(alpha, "alpha");
  check_one_element(shift, "shift");
  if (is_given(weight)) {
    check_parameter(input, *weight, "weight");
    check_channels(input, *weight, "weight", dim);
  }
  if (is_given(bias)) {
    check_parameter(input, *bias, "bias");
    check_channels(input, *bias, "bias", dim);
  }
  if (is_given(weight) && is_given(bias)) {
    check_same_dtype(*weight, "weight", *bias, "bias");
    TORCH_CHECK(weight->dim() == bias->dim(), "derf: bias must have the shape of weight, ", weight->sym_sizes(),
                ", but has shape ", bias->sym_sizes());
  }
}

void check_grad_output(const at::Tensor& grad_output, const at::Tensor& input) {
  TORCH_CHECK(grad_output.layout() == at::kStrided, "derf: grad_output must be a strided tensor, but has layout ",
              grad_output.layout());
  TORCH_CHECK(grad_output.device() == input.device(), "derf: grad_output must be on the device of input, ",
              input.device(), ", but is on ", grad_output.device());
  check_same_dtype(input, "input", grad_output, "grad_output");
  TORCH_CHECK(grad_output.dim() == input.dim(), "derf: grad_output must have the shape of input, ", input.sym_sizes(),
              ", but has shape ", grad_output.sym_sizes());
  for (int64_t i = 0; i < input.dim(); ++i) {
    TORCH_SYM_CHECK(grad_output.sym_size(i).sym_eq(input.sym_size(i)),
                    "derf: grad_output must have the shape of input, ", input.sym_sizes(), ", but has shape ",
                    grad_output.sym_sizes());
  }
}

Problem::Problem(const at::Tensor& input_, const std::optional<at::Tensor>& weight_,
                 const std::optional<at::Tensor>& bias_, int64_t channel_dim)
    : input(input_) {
  if (is_given(weight_)) {
    weight = weight_->contiguous();
  }
  if (is_given(bias_)) {
    bias = bias_->contiguous();
  }
  channels = weight.defined() ? weight.numel() : bias.defined() ? bias.numel() : 1;
  // Dimensions [first, last] of input are those of the channels.
  const int64_t last = at::maybe_wrap_dim(channel_dim, input.dim());
  const int64_t first = last + 1 - (weight.defined() ? weight.dim() : bias.defined() ? bias.dim() : 0);
  if (channels > 1 && last + 1 == input.dim() && input.is_contiguous()) {
    outer = input.numel() / channels;
    return;
  }
  if (!input.is_non_overlapping_and_dense()) {
    input = input.clone();  // keeps the order of the dimensions
  }
  if (channels <= 1) {  // the shape does not matter
    inner = input.numel();
    return;
  }
  // The order of the dimensions in memory, outermost first; those of size 1 have no place there.
  c10::SmallVector<int64_t, 6> order;
  for (int64_t i = 0; i < input.dim(); ++i) {
    if (input.size(i) != 1) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return input.stride(a) > input.stride(b); });
  const auto is_channel = [&](int64_t i) { return first <= i && i <= last; };
  const auto begin = std::find_if(order.begin(), order.end(), is_channel);
  const auto end = std::find_if_not(begin, order.end(), is_channel);
  if (!std::is_sorted(begin, end) || std::any_of(end, order.end(), is_channel)) {
    input = input.contiguous();
    order.clear();
  }
  for (int64_t i = 0; i < input.dim(); ++i) {
    const bool before = order.empty() ? i < first : std::find(order.begin(), begin, i) != begin;
    if (!is_channel(i)) {
      (before ? outer : inner) *= input.size(i);
    }
  }
}

at::Tensor Problem::matching(const at::Tensor& tensor) const {
  return tensor.strides() == input.strides() ? tensor : at::empty_like(input).copy_(tensor);
}

at::Tensor Problem::in_order_of(const at::Tensor& original, const at::Tensor& result) const {
  if (input.is_same(original) || !result.defined()) {
    return result;
  }
  at::Tensor promised = at::empty_like(original);
  return promised.strides() == result.strides() ? result : promised.copy_(result);
}

}  // namespace derf
