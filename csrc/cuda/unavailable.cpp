// In a build without CUDA kernels, a CUDA tensor gets an answer that says so.
#include "../out.h"
#include "../quantized.h"
#include "../registration.h"

namespace {

[[noreturn]] void refuse(const at::Tensor& input) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "derf: input is on ", input.device(), ", but this build's CUDA kernels: " DERF_CUDA_INFO,
      ". Install derf again with the environment variable DERF_CUDA=1, which fetches a compiler where none is found: "
      "DERF_CUDA=1 pip install --force-reinstall --no-deps --no-cache-dir derf (or the directory of its sources).");
}

at::Tensor forward(const derf::Operands& operands) { refuse(operands.input()); }

derf::GradientList backward(const at::Tensor&, const derf::Operands& operands, derf::Mask) { refuse(operands.input()); }

derf::Added add_forward(const derf::Operands& operands) { refuse(operands.input()); }

derf::GradientList add_backward(const derf::SumGradients& grads, const derf::Operands&, derf::Mask) {
  refuse(grads.value);
}

void into(const derf::Operands& operands, const at::Tensor&) { refuse(operands.input()); }

derf::QuantizedResults quantized(const derf::Operands& operands, const derf::Quantization&) {
  refuse(operands.input());
}

}  // namespace

TORCH_LIBRARY_IMPL(derf, CUDA, m) {
  derf::implement<forward, backward>(m);
  derf::implement_out<into>(m);
  derf::implement_quantized<quantized>(m);
  derf::implement_add<add_forward, add_backward>(m);
}
