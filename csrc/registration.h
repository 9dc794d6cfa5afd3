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
           return forward({{&input, &alpha, &given(shift), &given(weight), &given(bias)},
                           options(function, channel_dim, weight_offset, dead_zone, input_shift, linear_mix, clip,
                                   output_shift, sign),
                           keys});
         });
  m.impl(("pointwise_norm_backward" + suffix).c_str(),
         [](Keys keys, const Tensor& grad_output, const Tensor& input, const Tensor& alpha, const OptionalTensor& shift,
            const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim, std::string_view function,
            double weight_offset, double dead_zone, double input_shift, double linear_mix, std::optional<double> clip,
            double output_shift, int64_t sign, Mask output_mask) {
           return as_tuple(backward(grad_output,
                                    {{&input, &alpha, &given(shift), &given(weight), &given(bias)},
                                     options(function, channel_dim, weight_offset, dead_zone, input_shift, linear_mix,
                                             clip, output_shift, sign),
                                     keys},
                                    output_mask));
         });
}

// Registers all operators of one dispatch key: two kernels serve them all.
template <ForwardKernel forward, BackwardKernel backward>
void implement(torch::Library& m) {
  using Keys = c10::DispatchKeySet;
  implement_pointwise_norm<forward, backward>(m);
  m.impl("derf", [](Keys keys, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                    const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim) {
    return forward({{&input, &alpha, &shift, &given(weight), &given(bias)}, {.channel_dim = channel_dim}, keys});
  });
  m.impl("derf_backward", [](Keys keys, const Tensor& grad_output, const Tensor& input, const Tensor& alpha,
                             const Tensor& shift, const OptionalTensor& weight, const OptionalTensor& bias,
                             int64_t channel_dim, Mask output_mask) {
    return as_tuple(backward(
        grad_output, {{&input, &alpha, &shift, &given(weight), &given(bias)}, {.channel_dim = channel_dim}, keys},
        output_mask));
  });
}

}  // namespace derf
