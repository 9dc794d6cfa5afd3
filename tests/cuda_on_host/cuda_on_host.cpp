// The source of the CUDA kernels, and of their operators, compiled for the host, in the place of the CPU's own.
// torch.ops.load_library of this gives
//   derf_cuda_on_host::install(int processors, bool guard_ends, bool reversed) -> ()
//   derf_cuda_on_host::evaluate(Tensor u, ScalarType dtype, str function="erf") -> (Tensor, Tensor)
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
  derf::implement<derf::forward_on<derf::cuda::Device>, derf::backward_on<derf::cuda::Device>>(library);
}

template <class T>
void evaluate_all(derf::Function f, const at::Tensor& u, const at::Tensor& value, const at::Tensor& slope) {
  using Number = derf::cuda::opmath_t<T>;
  const auto as = [&](const auto& function) {
    for (int64_t i = 0; i < u.numel(); ++i) {
      const auto [v, s] = function(u.const_data_ptr<Number>()[i]);
      value.mutable_data_ptr<Number>()[i] = v;
      slope.mutable_data_ptr<Number>()[i] = s;
    }
  };
  switch (f) {
    case derf::Function::erf:
      return as([](Number x) { return std::pair(derf::cuda::Erf<T>::value(x), derf::cuda::Erf<T>::slope(x)); });
    case derf::Function::tanh:
      return as([](Number x) { return std::pair(derf::cuda::Tanh<T>::value(x), derf::cuda::Tanh<T>::slope(x)); });
    default:
      return as([&](Number x) {
        const Number slope = derf::cuda::few_gradients<Number, 1>(f, {x}).slope.each[0];
        return std::pair(derf::cuda::few_values<Number, 1>(f, {x}).each[0], slope);
      });
  }
}

// Value and slope at u (float64 with dtype float64, else float32), as in a kernel for tensors of `dtype`.
std::tuple<at::Tensor, at::Tensor> evaluate(const at::Tensor& u, at::ScalarType dtype, std::string_view function) {
  TORCH_CHECK(u.is_contiguous() && u.scalar_type() == (dtype == at::kDouble ? at::kDouble : at::kFloat));
  const derf::Function f = derf::checked_function(function);
  const at::Tensor value = at::empty_like(u), slope = at::empty_like(u);
  switch (dtype) {
    case at::kDouble: evaluate_all<double>(f, u, value, slope); break;
    case at::kFloat: evaluate_all<float>(f, u, value, slope); break;
    case at::kHalf: evaluate_all<derf::Half>(f, u, value, slope); break;
    default: evaluate_all<derf::BFloat16>(f, u, value, slope);
  }
  return {value, slope};
}

}  // namespace

TORCH_LIBRARY(derf_cuda_on_host, m) {
  m.def("install(int processors, bool guard_ends, bool reversed) -> ()", &install);
  m.def("evaluate(Tensor u, ScalarType dtype, str function=\"erf\") -> (Tensor, Tensor)", &evaluate);
}
