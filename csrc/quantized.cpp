// What derf::quantized_pointwise_norm does on every device alike.
#include "quantized.h"

#include <ATen/ATen.h>

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

// In ATen's own operators; the sum is rounded, as in the kernels, and nothing else before the end.
QuantizedResults by_parts(const Operands& operands, const Quantization& q) {
  check(operands);
  check_quantization(operands, q);
  const Tensor& input = operands.input();
  const auto wide = input.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor sum = operands[RESIDUAL].defined() ? std::get<1>(composite::add_forward(operands)) : Tensor();
  std::array<Tensor, OPERANDS> tensors;
  for (const size_t i : {ALPHA, SHIFT, WEIGHT, BIAS}) {
    tensors[i] = operands[i].defined() ? operands[i].to(wide) : Tensor();
  }
  tensors[INPUT] = (sum.defined() ? sum : input).to(wide);
  Options options = operands.options;
  options.name = Name::pointwise_norm;
  const Tensor output = call({tensors, options});
  const Tensor x =
      output * unsqueeze_to_channels(q.scale.to(at::kDouble).reciprocal().to(wide), input.dim(), options.channel_dim);
  Tensor quantized;
  if (q.dtype == at::kChar) {
    quantized = at::nan_to_num(x, 0).round().clamp(-128, 127).to(at::kChar);
  } else {
    const double largest = q.dtype == at::kFloat8_e4m3fn ? 448 : 57344;
    quantized = x.clamp(-largest, largest).to(q.dtype);
  }
  return {quantized, q.unquantized ? output.to(input.scalar_type()) : Tensor(), sum};
}

}  // namespace
}  // namespace derf

TORCH_LIBRARY_IMPL(derf, Autograd, m) { derf::implement_quantized<derf::no_autograd>(m); }
TORCH_LIBRARY_IMPL(derf, Meta, m) { derf::implement_quantized<derf::meta>(m); }
TORCH_LIBRARY_IMPL(derf, FuncTorchBatched, m) { derf::implement_quantized<derf::by_parts>(m); }
TORCH_LIBRARY_IMPL(derf, CompositeImplicitAutograd, m) { derf::implement_quantized<derf::by_parts>(m, "_composite"); }
