// The source of the CUDA kernels, and of their operators, compiled for the host, in the place of the CPU's own.
// torch.ops.load_library of this gives
//   derf_cuda_on_host::install(int processors, bool guard_ends, bool reversed) -> ()
//   derf_cuda_on_host::evaluate(Tensor u, ScalarType dtype) -> (Tensor, Tensor)
#define DERF_CUDA_ON_HOST
#define DERF_CUDA_ARCHITECTURES "the host"
#include "device.h"
//
#include "../../csrc/cuda/kernels.cu"
#include "../../csrc/cuda/operator.cpp"
#include "guarded_allocator.h"

namespace {

void install(int64_t processors, bool guard_ends, bool reversed) {
  on_host::settings = {int(processors), reversed};
  on_host::guard_allocations(guard_ends);
  static auto library = MAKE_TORCH_LIBRARY_IMPL(derf, CPU);
  library.impl("derf", &derf::cuda::forward);
  library.impl("derf_backward", &derf::cuda::backward);
}

template <class T>
void evaluate_all(const at::Tensor& u, const at::Tensor& value, const at::Tensor& slope) {
  using Number = derf::cuda::NumberOf<T>;
  for (int64_t i = 0; i < u.numel(); ++i) {
    const Number x = u.const_data_ptr<Number>()[i];
    value.mutable_data_ptr<Number>()[i] = derf::cuda::Erf<T>::value(x);
    slope.mutable_data_ptr<Number>()[i] = derf::cuda::Erf<T>::slope(x);
  }
}

// Value and slope at u (float64 with dtype float64, else float32), as in a kernel for tensors of `dtype`.
std::tuple<at::Tensor, at::Tensor> evaluate(const at::Tensor& u, at::ScalarType dtype) {
  TORCH_CHECK(u.is_contiguous() && u.scalar_type() == (dtype == at::kDouble ? at::kDouble : at::kFloat));
  const at::Tensor value = at::empty_like(u), slope = at::empty_like(u);
  switch (dtype) {
    case at::kDouble: evaluate_all<double>(u, value, slope); break;
    case at::kFloat: evaluate_all<float>(u, value, slope); break;
    case at::kHalf: evaluate_all<derf::Half>(u, value, slope); break;
    default: evaluate_all<derf::BFloat16>(u, value, slope);
  }
  return {value, slope};
}

}  // namespace

TORCH_LIBRARY(derf_cuda_on_host, m) {
  m.def("install(int processors, bool guard_ends, bool reversed) -> ()", &install);
  m.def("evaluate(Tensor u, ScalarType dtype) -> (Tensor, Tensor)", &evaluate);
}
