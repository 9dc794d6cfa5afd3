// Devices that no kernel is compiled for, those of Apple, Intel and AMD among them, and CUDA in a build without its
// kernels: ATen's own operators, in several passes, with one warning for each kind of device.
#include <c10/core/DeviceType.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../out.h"
#include "../quantized.h"
#include "composite.h"

namespace derf::composite {
namespace {

bool is_strict() {
  static const bool strict = [] {
    const char* value = std::getenv("DERF_STRICT");
    const std::string_view given = value ? value : "";
    TORCH_CHECK_VALUE(given.empty() || given == "0" || given == "1",
                      "derf: the environment variable DERF_STRICT must be 0 or 1, but is ", given);
    return given == "1";
  }();
  return strict;
}

std::string advice(c10::Device device) {
  if (device.is_cuda()) {
    return "this build's CUDA kernels: " DERF_CUDA_INFO
           ". Install derf again with the environment variable DERF_CUDA=1, which fetches a compiler where none is "
           "found: DERF_CUDA=1 pip install --force-reinstall --no-deps --no-cache-dir --no-binary derf derf (or the "
           "directory of its sources)";
  }
  return "torch.compile can fuse them: torch._inductor.decomposition.decompositions.update(derf.decompositions())";
}

// Says once for each kind of device what runs there.
const Operands& told(const Operands& operands) {
  const c10::Device device = operands.input().device();
  const auto kind = static_cast<size_t>(device.type());
  static std::array<std::atomic<bool>, c10::COMPILE_TIME_MAX_DEVICE_TYPES> seen{};
  TORCH_CHECK_NOT_IMPLEMENTED(!is_strict(), "derf: there is no kernel for input's device, ", device,
                              ", and DERF_STRICT=1 allows nothing else; ", advice(device), ".");
  if (!seen[kind].exchange(true)) {
    TORCH_WARN("derf: there is no kernel for ", device, ": PyTorch's own operators compute the layers, in several ",
               "passes over memory, which is slower; ", advice(device), ". DERF_STRICT=1 makes this an error.");
  }
  return operands;
}

Tensor forward_there(const Operands& operands) {
  check(operands);
  return forward(told(operands));
}

GradientList backward_there(const Tensor& grad_output, const Operands& operands, Mask mask) {
  check(operands);
  check_grad_output(grad_output, operands.input());
  return backward(grad_output, told(operands), mask);
}

Added add_forward_there(const Operands& operands) {
  check(operands);
  return add_forward(told(operands));
}

GradientList add_backward_there(const SumGradients& grads, const Operands& operands, Mask mask) {
  told(checked_add_backward(grads, operands, mask));
  return add_backward(grads, operands, mask);
}

void into_there(const Operands& operands, const Tensor& out) {
  check(operands);
  check_out(operands, out);
  out.copy_(forward(told(operands)));
}

QuantizedResults quantized_there(const Operands& operands, const Quantization& q) {
  check(operands);
  check_quantization(operands, q);
  return quantized(told(operands), q);
}

}  // namespace
}  // namespace derf::composite

TORCH_LIBRARY_IMPL(derf, CompositeExplicitAutograd, m) {
  using namespace derf::composite;
  derf::implement<forward_there, backward_there>(m);
  derf::implement_add<add_forward_there, add_backward_there>(m);
  derf::implement_out<into_there>(m);
  derf::implement_quantized<quantized_there>(m);
}
