// What derf::quantized_pointwise_norm does on every device alike.
#include "quantized.h"

#include <ATen/ops/empty_like.h>

#include "autograd/refuse.h"
#include "composite/composite.h"

namespace derf {
namespace {

QuantizedResults no_autograd(const Operands& operands, const Quantization& q) {
  for (size_t i = 0; i < OPERANDS; ++i) {
    autograd::refuse_gradients(operands[i], operand_table[i].name, "where the output is stored as 8 bits",
                               "use the operators that do not quantize");
  }
  const at::AutoDispatchBelowADInplaceOrView below;
  return redispatch_quantized(operands, q, operands.keys & c10::after_ADInplaceOrView_keyset);
}

QuantizedResults meta(const Operands& operands, const Quantization& q) {
  check(operands);
  check_quantization(operands, q);
  const auto like = [&](const Tensor& tensor, at::ScalarType dtype) { return at::empty_like(tensor, dtype); };
  const Tensor &input = operands.input(), &residual = operands[RESIDUAL];
  return {like(input, q.dtype), q.unquantized ? like(input, input.scalar_type()) : Tensor(),
          residual.defined() ? like(input, residual.scalar_type()) : Tensor()};
}

}  // namespace
}  // namespace derf

TORCH_LIBRARY_IMPL(derf, Autograd, m) { derf::implement_quantized<derf::no_autograd>(m); }
TORCH_LIBRARY_IMPL(derf, Meta, m) { derf::implement_quantized<derf::meta>(m); }
TORCH_LIBRARY_IMPL(derf, FuncTorchBatched, m) { derf::implement_quantized<derf::composite::quantized>(m); }
TORCH_LIBRARY_IMPL(derf, CompositeImplicitAutograd, m) {
  derf::implement_quantized<derf::composite::quantized>(m, "_composite");
}
