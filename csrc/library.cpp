// The contract: every operator's schema. Kernels register themselves, by device, in the folders beside this file.
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/StringUtil.h>
#include <torch/headeronly/version.h>
#include <torch/library.h>

#include "operators.h"

TORCH_LIBRARY(derf, m) {
  m.def(
      "derf(Tensor input, Tensor alpha, Tensor shift, Tensor? weight=None, Tensor? bias=None, int channel_dim=-1)"
      " -> Tensor",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "derf_backward(Tensor grad_output, Tensor input, Tensor alpha, Tensor shift, Tensor? weight, Tensor? bias,"
      " int channel_dim, bool[5] output_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def("build_info() -> str", &derf::build_info);
  m.def("cpu_capability() -> str", &derf::cpu_capability);
}

namespace derf {

at::Tensor derf(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias, int64_t channel_dim) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("derf::derf", "").typed<decltype(::derf::derf)>();
  return op.call(input, alpha, shift, weight, bias, channel_dim);
}

Gradients derf_backward(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
                        const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                        const std::optional<at::Tensor>& bias, int64_t channel_dim, std::array<bool, 5> output_mask) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("derf::derf_backward", "")
                             .typed<decltype(::derf::derf_backward)>();
  return op.call(grad_output, input, alpha, shift, weight, bias, channel_dim, output_mask);
}

}  // namespace derf

std::string derf::build_info() {
  return "compiled for: torch " TORCH_VERSION " (" DERF_TAG
         ")\n"
         "compiler: " DERF_COMPILER
         "\n"
         "CPU kernels: " +
         c10::Join(", ", cpu_capabilities()) + "; in use: " + cpu_capability() +
         "\n"
         "CUDA kernels: " DERF_CUDA_INFO;
}
