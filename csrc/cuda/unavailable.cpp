// In a build without CUDA kernels, a CUDA tensor gets an answer that says so.
#include <torch/library.h>

#include "../operators.h"

namespace {

[[noreturn]] void refuse(const at::Tensor& input) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false, "derf: input is on ", input.device(), ", but this build's CUDA kernels: " DERF_CUDA_INFO,
      ". Install derf again with the environment variable DERF_CUDA=1, which fetches a compiler where none is found: "
      "DERF_CUDA=1 pip install --force-reinstall --no-deps --no-cache-dir derf (or the directory of its sources).");
}

at::Tensor forward(const at::Tensor& input, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                   const std::optional<at::Tensor>&, int64_t) {
  refuse(input);
}

derf::Gradients backward(const at::Tensor&, const at::Tensor& input, const at::Tensor&, const at::Tensor&,
                         const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, int64_t,
                         std::array<bool, 5>) {
  refuse(input);
}

}  // namespace

TORCH_LIBRARY_IMPL(derf, CUDA, m) {
  m.impl("derf", &forward);
  m.impl("derf_backward", &backward);
}
