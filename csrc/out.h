// Results in memory of the caller's: derf::derf.out, derf::derf_ and the same of pointwise_norm. Forward alone, and
// without autograd: for inference, where fresh memory for a large output costs more than the kernel.
#pragma once
#include "device.h"
#include "registration.h"

namespace derf {

// Writes the output into `out`, which is input itself for the operators that work in place.
using IntoKernel = void (*)(const Operands&, const Tensor& out);

// The operator that writes into `out` through the dispatcher: from the top, or from the given keys on.
void call_into(const Operands& operands, const Tensor& out);
void redispatch_into(const Operands& operands, const Tensor& out, c10::DispatchKeySet keys);

// Registers these operators for one dispatch key.
template <IntoKernel kernel>
void implement_out(torch::Library& m) {
  using Keys = c10::DispatchKeySet;
  static constexpr auto into = [](Operands&& operands, const Tensor& out) {
    kernel(operands, out);
    return out;
  };
  m.impl(
      "derf.out", [](Keys keys, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                     const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim, const Tensor& out) {
        return into({plain(input, alpha, shift, given(weight), given(bias)), {.channel_dim = channel_dim}, keys}, out);
      });
  m.impl("derf_", [](Keys keys, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                     const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim) {
    return into({plain(input, alpha, shift, given(weight), given(bias)), {.channel_dim = channel_dim}, keys}, input);
  });
  m.impl("pointwise_norm.out", [](Keys keys, const Tensor& input, const Tensor& alpha, const OptionalTensor& shift,
                                  const OptionalTensor& weight, const OptionalTensor& bias, std::string_view function,
                                  int64_t channel_dim, double weight_offset, double dead_zone, double input_shift,
                                  double linear_mix, std::optional<double> clip, double output_shift, int64_t sign,
                                  const Tensor& out) {
    return into(
        {plain(input, alpha, given(shift), given(weight), given(bias)),
         options(function, channel_dim, weight_offset, dead_zone, input_shift, linear_mix, clip, output_shift, sign),
         keys},
        out);
  });
  m.impl("pointwise_norm_", [](Keys keys, const Tensor& input, const Tensor& alpha, const OptionalTensor& shift,
                               const OptionalTensor& weight, const OptionalTensor& bias, std::string_view function,
                               int64_t channel_dim, double weight_offset, double dead_zone, double input_shift,
                               double linear_mix, std::optional<double> clip, double output_shift, int64_t sign) {
    return into(
        {plain(input, alpha, given(shift), given(weight), given(bias)),
         options(function, channel_dim, weight_offset, dead_zone, input_shift, linear_mix, clip, output_shift, sign),
         keys},
        input);
  });
}

template <class Device>
void forward_into(const Operands& operands, const Tensor& out) {
  check(operands);
  check_out(operands, out);
  check_out_memory(operands, out);
  const typename Device::Guard guard(operands.input().device());
  const Layout layout(operands);
  if (layout.input.numel() == 0) {
    return;
  }
  if (layout.lies_like_input(out)) {
    Device::forward({layout.call, out.mutable_data_ptr()}, out);
    return;
  }
  // A copy that the layout made is nobody else's.
  const Tensor output =
      layout.input.is_same(operands.input())
          ? Device::empty(layout.input.sizes(), layout.input.strides(), layout.input.scalar_type(), layout.input)
          : layout.input;
  Device::forward({layout.call, output.mutable_data_ptr()}, output);
  out.copy_(output);
}

}  // namespace derf
