// vmap. Where only input (and grad_output) is batched the batch is one more dimension to the kernel; elsewhere, and
// for gradients of parameters, which are one a sample, the composite runs and ATen's own batching rules do the rest.
#include <ATen/functorch/BatchedTensorImpl.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>

#include "../composite/composite.h"
#include "../registration.h"

namespace derf::vmap {
namespace {

using at::functorch::maybeGetBatchedImpl;

// The innermost vmap that batches a tensor; -1 where none does.
int64_t level_of(const Tensor& tensor) {
  const auto* batched = tensor.defined() ? maybeGetBatchedImpl(tensor) : nullptr;
  return batched ? batched->level() : -1;
}

int64_t level_of_parameters(const Operands& operands) {
  int64_t level = -1;
  for (size_t i = ALPHA; i < OPERANDS; ++i) {
    level = std::max(level, level_of(operands[i]));
  }
  return level;
}

// The tensor with this level's batch as its first dimension; as it is where this level does not batch it.
Tensor unbatched(const Tensor& tensor, int64_t level) {
  return level_of(tensor) == level
             ? maybeGetBatchedImpl(tensor)->value().movedim(maybeGetBatchedImpl(tensor)->bdim(), 0)
             : tensor;
}

// The same operands with a batch of inputs.
Operands with_batch(const Operands& operands, const Tensor& input) {
  Options options = operands.options;
  const int64_t dim = operands.input().dim();
  options.channel_dim = dim == 0 ? -1 : wrapped_channel_dim(options.channel_dim, dim) + 1;
  return {plain(input, operands[ALPHA], operands[SHIFT], operands[WEIGHT], operands[BIAS]), options};
}

Tensor forward(const Operands& operands) {
  const int64_t level = level_of(operands.input());
  if (level <= level_of_parameters(operands)) {
    return composite::forward(operands);
  }
  check(operands);
  const c10::impl::ExcludeDispatchKeyGuard beyond(c10::DispatchKey::FuncTorchBatched);
  const Tensor input = unbatched(operands.input(), level);
  return at::functorch::makeBatched(call(with_batch(operands, input)), 0, level);
}

GradientList backward(const Tensor& grad_output, const Operands& operands, Mask mask) {
  const int64_t level = std::max(level_of(grad_output), level_of(operands.input()));
  if (level <= level_of_parameters(operands) || !mask[INPUT]) {
    return composite::backward(grad_output, operands, mask);
  }
  check(operands);
  check_grad_output(grad_output, operands.input());
  mask[INPUT] = false;
  GradientList gradients;
  if (mask != Mask{}) {
    gradients = composite::backward(grad_output, operands, mask);
  }
  const c10::impl::ExcludeDispatchKeyGuard beyond(c10::DispatchKey::FuncTorchBatched);
  Tensor x = unbatched(operands.input(), level), g = unbatched(grad_output, level);
  if (x.dim() < g.dim()) {
    x = x.expand_as(g);
  } else {
    g = g.expand_as(x);
  }
  const Tensor grad_input = call_backward(g, with_batch(operands, x), {true})[INPUT];
  gradients[INPUT] = at::functorch::makeBatched(grad_input, 0, level);
  return gradients;
}

}  // namespace
}  // namespace derf::vmap

// A sum is left to the composite: its own part is ATen's, and the function's comes here.
TORCH_LIBRARY_IMPL(derf, FuncTorchBatched, m) {
  derf::implement<derf::vmap::forward, derf::vmap::backward>(m);
  derf::implement_add<derf::composite::add_forward, derf::composite::add_backward>(m);
}
