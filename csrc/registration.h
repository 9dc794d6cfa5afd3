// From the arguments of a schema to Operands and back, once for all dispatch keys.
#pragma once
#include <torch/library.h>

#include <string>
#include <string_view>
#include <tuple>

#include "operands.h"

namespace derf {

using OptionalTensor = std::optional<Tensor>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

inline Gradients as_tuple(GradientList&& g) {
  return {std::move(g[INPUT]), std::move(g[ALPHA]), std::move(g[SHIFT]), std::move(g[WEIGHT]), std::move(g[BIAS])};
}

// The masks of the operators that add nothing: input, alpha, shift, weight, bias.
using PlainMask = std::array<bool, 5>;
inline Mask of_plain(const PlainMask& m) { return {m[0], false, m[1], m[2], m[3], m[4], false}; }
inline PlainMask as_plain(const Mask& m) { return {m[INPUT], m[ALPHA], m[SHIFT], m[WEIGHT], m[BIAS]}; }

// The gradients of all operands, in their order.
using AddGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using AddForwardKernel = Added (*)(const Operands&);
using AddBackwardKernel = GradientList (*)(const SumGradients&, const Operands&, Mask);
using ForwardKernel = Tensor (*)(const Operands&);
using BackwardKernel = GradientList (*)(const Tensor& grad_output, const Operands&, Mask);

// Registers the family's operators for one dispatch key, or those of the same schema whose names end in `suffix`.
template <ForwardKernel forward, BackwardKernel backward>
void implement_pointwise_norm(torch::Library& m, const std::string& suffix = "") {
  using Keys = c10::DispatchKeySet;
  m.impl(("pointwise_norm" + suffix).c_str(),
         [](Keys keys, const Tensor& input, const Tensor& alpha, const OptionalTensor& shift,
            const OptionalTensor& weight, const OptionalTensor& bias, std::string_view function, int64_t channel_dim,
            double weight_offset, double dead_zone, double input_shift, double linear_mix, std::optional<double> clip,
            double output_shift, int64_t sign) {
           return forward({plain(input, alpha, given(shift), given(weight), given(bias)),
                           options(function, channel_dim, weight_offset, dead_zone, input_shift, linear_mix, clip,
                                   output_shift, sign),
                           keys});
         });
  m.impl(("pointwise_norm_backward" + suffix).c_str(),
         [](Keys keys, const Tensor& grad_output, const Tensor& input, const Tensor& alpha, const OptionalTensor& shift,
            const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim, std::string_view function,
            double weight_offset, double dead_zone, double input_shift, double linear_mix, std::optional<double> clip,
            double output_shift, int64_t sign, PlainMask output_mask) {
           return as_tuple(backward(grad_output,
                                    {plain(input, alpha, given(shift), given(weight), given(bias)),
                                     options(function, channel_dim, weight_offset, dead_zone, input_shift, linear_mix,
                                             clip, output_shift, sign),
                                     keys},
                                    of_plain(output_mask)));
         });
}

// Registers all operators of one dispatch key: two kernels serve them all.
template <ForwardKernel forward, BackwardKernel backward>
void implement(torch::Library& m) {
  using Keys = c10::DispatchKeySet;
  implement_pointwise_norm<forward, backward>(m);
  m.impl("derf", [](Keys keys, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                    const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim) {
    return forward({plain(input, alpha, shift, given(weight), given(bias)), {.channel_dim = channel_dim}, keys});
  });
  m.impl("derf_backward", [](Keys keys, const Tensor& grad_output, const Tensor& input, const Tensor& alpha,
                             const Tensor& shift, const OptionalTensor& weight, const OptionalTensor& bias,
                             int64_t channel_dim, PlainMask output_mask) {
    return as_tuple(backward(
        grad_output, {plain(input, alpha, shift, given(weight), given(bias)), {.channel_dim = channel_dim}, keys},
        of_plain(output_mask)));
  });
}

// The same for derf::add_pointwise_norm.
template <AddForwardKernel forward, AddBackwardKernel backward>
void implement_add(torch::Library& m, const std::string& suffix = "") {
  using Keys = c10::DispatchKeySet;
  m.impl(("add_pointwise_norm" + suffix).c_str(),
         [](Keys keys, const Tensor& input, const Tensor& residual, const Tensor& alpha, const OptionalTensor& shift,
            const OptionalTensor& weight, const OptionalTensor& bias, const OptionalTensor& gate,
            std::string_view function, int64_t channel_dim, double weight_offset) {
           TORCH_CHECK(residual.defined(), "derf: residual must be a tensor, but is absent");
           return forward({{&input, &residual, &alpha, &given(shift), &given(weight), &given(bias), &given(gate)},
                           add_options(function, channel_dim, weight_offset),
                           keys});
         });
  m.impl(("add_pointwise_norm_backward" + suffix).c_str(),
         [](Keys keys, const Tensor& grad_output, const OptionalTensor& grad_sum, const OptionalTensor& input,
            const Tensor& sum, const Tensor& alpha, const OptionalTensor& shift, const OptionalTensor& weight,
            const OptionalTensor& bias, const OptionalTensor& gate, int64_t channel_dim, std::string_view function,
            double weight_offset, Mask output_mask) {
           auto gradients =
               backward({grad_output, given(grad_sum), sum},
                        {{&given(input), &absent(), &alpha, &given(shift), &given(weight), &given(bias), &given(gate)},
                         add_options(function, channel_dim, weight_offset),
                         keys},
                        output_mask);
           return std::apply([](auto&... each) { return AddGradients(std::move(each)...); }, gradients);
         });
}

}  // namespace derf
