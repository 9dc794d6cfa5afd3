// derf::quantized_pointwise_norm by its parts.
#include "../quantized.h"

#include <ATen/ATen.h>

#include "composite.h"

namespace derf::composite {

// In ATen's own operators; the sum is rounded, as in the kernels, and nothing else before the end.
QuantizedResults quantized(const Operands& operands, const Quantization& q) {
  check(operands);
  check_quantization(operands, q);
  const Tensor& input = operands.input();
  const auto wide = input.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor sum = operands[RESIDUAL].defined() ? std::get<1>(add_forward(operands)) : Tensor();
  const Tensor output = applied(operands, (sum.defined() ? sum : input).to(wide));
  const Tensor inverse = q.scale.to(wide).reciprocal();
  const Tensor x =
      output * (is_per_channel(inverse) ? unsqueeze_to_channels(inverse, input.dim(), operands.options.channel_dim)
                                        : inverse.reshape({}));  // beside an input without dimensions too
  Tensor result;
  if (q.dtype == at::kChar) {
    result = at::nan_to_num(x, 0).round().clamp(-128, 127).to(at::kChar);
  } else {
    const double largest = q.dtype == at::kFloat8_e4m3fn ? 448 : 57344;
    result = x.clamp(-largest, largest).to(q.dtype);
  }
  return {result, q.unquantized ? output.to(input.scalar_type()) : Tensor(), sum};
}

}  // namespace derf::composite
