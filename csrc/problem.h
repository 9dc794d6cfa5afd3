// What a call is about, the same for every device: one check, and one description of memory.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

namespace derf {

// Refuses what the operator does not take, naming the argument, what came and what was expected.
// Sizes may be symbolic. Every kernel calls it, so that nothing gets around it, inference mode included.
void check(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
           const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias, int64_t channel_dim);

// The same for what the backward adds.
void check_grad_output(const at::Tensor& grad_output, const at::Tensor& input);

inline bool is_given(const std::optional<at::Tensor>& tensor) { return tensor.has_value() && tensor->defined(); }

// input as the loops see it: dense, with its memory read as [outer, channels, inner].
struct Problem {
  at::Tensor input;
  at::Tensor weight, bias;  // contiguous; undefined where absent
  int64_t outer = 1, channels = 1, inner = 1;

  // The arguments must have passed `check`. Copies input only where it is not dense, or where the dimensions that
  // weight spans do not lie side by side in memory.
  Problem(const at::Tensor& input, const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
          int64_t channel_dim);

  // Of weight and bias; input's where both are absent.
  at::ScalarType param_dtype() const {
    return weight.defined() ? weight.scalar_type() : bias.defined() ? bias.scalar_type() : input.scalar_type();
  }

  // A tensor laid out in memory like `input`.
  at::Tensor matching(const at::Tensor& tensor) const;

  // A result laid out like `input` (or undefined), in the memory order that the meta kernel promises for the operator's
  // own input.
  at::Tensor in_order_of(const at::Tensor& original, const at::Tensor& result) const;
};

// Where a tensor's numbers are; null where it is undefined.
inline const void* data(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
inline void* mutable_data(const at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr() : nullptr; }

}  // namespace derf
