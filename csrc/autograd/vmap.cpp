// vmap. Where only input (and grad_output) is batched the batch is one more dimension to the kernel; elsewhere, and
// for gradients of parameters, which are one a sample, the formulas run and ATen's own batching rules do the rest.
#include <ATen/WrapDimUtils.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <algorithm>

#include "../problem.h"
#include "formulas.h"

namespace derf {
namespace {

using at::Tensor;
using at::functorch::maybeGetBatchedImpl;
using OptionalTensor = std::optional<Tensor>;

// The innermost vmap that batches a tensor; -1 where none does.
int64_t level_of(const OptionalTensor& tensor) {
  const auto* batched = is_given(tensor) ? maybeGetBatchedImpl(*tensor) : nullptr;
  return batched ? batched->level() : -1;
}

template <class... Tensors>
int64_t innermost(const Tensors&... tensors) {
  return std::max({level_of(tensors)...});
}

// The tensor with this level's batch as its first dimension; as it is where this level does not batch it.
Tensor unbatched(const Tensor& tensor, int64_t level) {
  return level_of(tensor) == level
             ? maybeGetBatchedImpl(tensor)->value().movedim(maybeGetBatchedImpl(tensor)->bdim(), 0)
             : tensor;
}

// channel_dim of a sample's tensor of `dim` dimensions, for the batch of them.
int64_t beside_batch(int64_t channel_dim, int64_t dim) {
  return dim == 0 ? -1 : at::maybe_wrap_dim(channel_dim, dim) + 1;
}

Tensor forward(const Tensor& input, const Tensor& alpha, const Tensor& shift, const OptionalTensor& weight,
               const OptionalTensor& bias, int64_t channel_dim) {
  const int64_t level = level_of(input);
  if (level <= innermost(alpha, shift, weight, bias)) {
    return formulas::forward(input, alpha, shift, weight, bias, channel_dim);
  }
  check(input, alpha, shift, weight, bias, channel_dim);
  const c10::impl::ExcludeDispatchKeyGuard beyond(c10::DispatchKey::FuncTorchBatched);
  const Tensor output =
      derf(unbatched(input, level), alpha, shift, weight, bias, beside_batch(channel_dim, input.dim()));
  return at::functorch::makeBatched(output, 0, level);
}

Gradients backward(const Tensor& grad_output, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                   const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim,
                   std::array<bool, 5> output_mask) {
  const int64_t level = innermost(grad_output, input);
  if (level <= innermost(alpha, shift, weight, bias) || !output_mask[0]) {
    return formulas::backward(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
  }
  check(input, alpha, shift, weight, bias, channel_dim);
  check_grad_output(grad_output, input);
  output_mask[0] = false;
  Gradients gradients;
  if (output_mask != std::array<bool, 5>{}) {
    gradients = formulas::backward(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
  }
  const c10::impl::ExcludeDispatchKeyGuard beyond(c10::DispatchKey::FuncTorchBatched);
  Tensor x = unbatched(input, level), g = unbatched(grad_output, level);
  if (x.dim() < g.dim()) {
    x = x.expand_as(g);
  } else {
    g = g.expand_as(x);
  }
  const Tensor grad_input =
      std::get<0>(derf_backward(g, x, alpha, shift, weight, bias, beside_batch(channel_dim, input.dim()), {true}));
  std::get<0>(gradients) = at::functorch::makeBatched(grad_input, 0, level);
  return gradients;
}

}  // namespace
}  // namespace derf

TORCH_LIBRARY_IMPL(derf, FuncTorchBatched, m) {
  m.impl("derf", &derf::forward);
  m.impl("derf_backward", &derf::backward);
}
