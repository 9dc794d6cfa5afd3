// derf::quantized_pointwise_norm: the output as 8 bits, for inference.
#pragma once
#include <ATen/ops/ones_like.h>

#include "device.h"
#include "registration.h"

namespace derf {

// The 8-bit result, the output and the sum; the latter two undefined where they are not wanted.
using QuantizedResults = std::tuple<Tensor, Tensor, Tensor>;
using QuantizedKernel = QuantizedResults (*)(const Operands&, const Quantization&);

QuantizedResults redispatch_quantized(const Operands& operands, const Quantization& quantization,
                                      c10::DispatchKeySet keys);

template <QuantizedKernel kernel>
void implement_quantized(torch::Library& m, const std::string& suffix = "") {
  m.impl(("quantized_pointwise_norm" + suffix).c_str(),
         [](c10::DispatchKeySet keys, const Tensor& input, const Tensor& scale, const Tensor& alpha,
            const OptionalTensor& shift, const OptionalTensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, const OptionalTensor& gate, at::ScalarType dtype, bool unquantized,
            std::string_view function, int64_t channel_dim, double weight_offset) {
           Options options = add_options(function, channel_dim, weight_offset);
           if (!residual) {
             TORCH_CHECK(!gate, "derf: gate must be absent where residual is");
             options.name = Name::pointwise_norm;
           }
           return kernel({{&input, &given(residual), &alpha, &given(shift), &given(weight), &given(bias), &given(gate)},
                          options,
                          keys},
                         {scale, dtype, unquantized});
         });
}

inline Format format_of(at::ScalarType dtype) {
  return dtype == at::kChar ? Format::int8 : dtype == at::kFloat8_e4m3fn ? Format::e4m3fn : Format::e5m2;
}

template <class Device>
QuantizedResults quantized_on(const Operands& given_operands, const Quantization& q) {
  check(given_operands);
  check_quantization(given_operands, q);
  if (given_operands.input().is_cpu()) {
    check_scale_values(q.scale);
  }
  const typename Device::Guard guard(given_operands.input().device());
  const bool per_channel = q.scale.numel() > 1;
  // Without a weight or a bias the layout would not know of channels.
  Borrowed tensors = given_operands.tensors();
  Tensor ones;
  if (per_channel && !tensors[WEIGHT]->defined() && !tensors[BIAS]->defined()) {
    ones = at::ones_like(q.scale, given_operands.input().scalar_type());
    tensors[WEIGHT] = &ones;
  }
  const Operands operands(tensors, given_operands.options);
  Layout layout(operands);
  const Tensor &input = layout.input, &residual = operands[RESIDUAL];
  const auto make = [&](bool wanted, at::ScalarType dtype) {
    return wanted ? Device::empty(input.sizes(), input.strides(), dtype, input) : Tensor();
  };
  const Tensor quantized = make(true, q.dtype), output = make(q.unquantized, input.scalar_type());
  const Tensor sum = residual.defined() ? make(true, residual.scalar_type()) : Tensor();
  if (quantized.numel() != 0) {
    layout.call.sum_type = type_of((residual.defined() ? residual : input).scalar_type());
    const Tensor scale = per_channel ? layout.of_channels(q.scale) : q.scale.contiguous();
    Device::forward({layout.call, mutable_data(output), layout.matching(residual), mutable_data(sum),
                     Quantized{quantized.mutable_data_ptr(), format_of(q.dtype), scale.const_data_ptr<float>(),
                               per_channel && layout.call.shape.channels > 1}},
                    quantized);
  }
  return {layout.restore(quantized), layout.restore(output), layout.restore(sum)};
}

}  // namespace derf
