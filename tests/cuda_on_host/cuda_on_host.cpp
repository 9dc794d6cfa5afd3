// The source of the CUDA kernels, and of their operators, compiled for the host, in the place of the CPU's own.
// torch.ops.load_library of this gives
//   derf_cuda_on_host::install(int processors, bool guard_ends, bool reversed) -> ()
//   derf_cuda_on_host::install_idle(int processors) -> ()    launches that do nothing: the host's time
//   derf_cuda_on_host::record() -> (), report() -> str    in cuda_traffic.so: recorder.h
//   derf_cuda_on_host::evaluate(Tensor u, ScalarType dtype, str function) -> (Tensor, Tensor, Tensor)
//   derf_cuda_on_host::quotients(Tensor dividends, int divisor) -> Tensor    by a Divider
#include <ATen/ops/empty_like.h>

#define DERF_CUDA_ON_HOST
#define DERF_CUDA_ARCHITECTURES "the host"
#include "device.h"
//
#include "../../csrc/cuda/kernels.cu"
#include "../../csrc/cuda/operator.cpp"
#include "../../csrc/functions/composite.h"
#include "guarded_allocator.h"

namespace {

void register_kernels() {
  static auto library = MAKE_TORCH_LIBRARY_IMPL(derf, CPU);
  using derf::cuda::Device;
  derf::implement<derf::forward_on<Device>, derf::backward_on<Device>>(library);
  derf::implement_add<derf::add_forward_on<Device>, derf::add_backward_on<Device>>(library);
  derf::implement_out<derf::forward_into<Device>>(library);
  derf::implement_quantized<derf::quantized_on<Device>>(library);
}

void install(int64_t processors, bool guard_ends, bool reversed) {
  on_host::settings = {int(processors), reversed, false};
  on_host::guard_allocations(guard_ends);
  register_kernels();
}

void install_idle(int64_t processors) {
  on_host::settings = {int(processors), false, true};
  register_kernels();
}

template <class T>
void evaluate_all(derf::Function f, const at::Tensor& u, const at::Tensor& value, const at::Tensor& value_in_sums,
                  const at::Tensor& slope) {
  using derf::Function;
  using Number = derf::cuda::opmath_t<T>;
  const auto tuned = [&]<template <class> class F>() {
    return [](Number x) {
      return std::pair(F<T>::value(x), derf::cuda::ValueAndSlope<Number>{F<T>::value(x), F<T>::slope(x)});
    };
  };
  const auto run = [&](const auto& at) {
    for (int64_t i = 0; i < u.numel(); ++i) {
      const auto [y, both] = at(u.const_data_ptr<Number>()[i]);
      value.mutable_data_ptr<Number>()[i] = y;
      value_in_sums.mutable_data_ptr<Number>()[i] = both.value;
      slope.mutable_data_ptr<Number>()[i] = both.slope;
    }
  };
  switch (f) {
    case Function::erf: return run(tuned.template operator()<derf::cuda::Erf>());
    case Function::tanh: return run(tuned.template operator()<derf::cuda::Tanh>());
    default:
      return run([&](Number x) {
        const auto both = derf::cuda::few_gradients<Number, 1>(f, {x});
        return std::pair(derf::cuda::few_values<Number, 1>(f, {x}).each[0],
                         derf::cuda::ValueAndSlope<Number>{both.value.each[0], both.slope.each[0]});
      });
  }
}

// Value, value beside the slope, and slope at u (float64 with dtype float64, else float32), as in a kernel for tensors
// of `dtype`.
std::tuple<at::Tensor, at::Tensor, at::Tensor> evaluate(const at::Tensor& u, at::ScalarType dtype,
                                                        const std::string& function) {
  TORCH_CHECK(u.is_contiguous() && u.scalar_type() == (dtype == at::kDouble ? at::kDouble : at::kFloat));
  const at::Tensor value = at::empty_like(u), in_sums = at::empty_like(u), slope = at::empty_like(u);
  const auto f = derf::function_of(function);
  switch (dtype) {
    case at::kDouble: evaluate_all<double>(f, u, value, in_sums, slope); break;
    case at::kFloat: evaluate_all<float>(f, u, value, in_sums, slope); break;
    case at::kHalf: evaluate_all<derf::Half>(f, u, value, in_sums, slope); break;
    default: evaluate_all<derf::BFloat16>(f, u, value, in_sums, slope);
  }
  return {value, in_sums, slope};
}

}  // namespace

TORCH_LIBRARY(derf_cuda_on_host, m) {
  m.def("install(int processors, bool guard_ends, bool reversed) -> ()", &install);
  m.def("install_idle(int processors) -> ()", &install_idle);
  m.def("record() -> ()", [] { on_host::recorder.enabled = true; });
  m.def("report() -> str", [] { return on_host::recorder.report(); });
  m.def("quotients(Tensor dividends, int divisor) -> Tensor", [](const at::Tensor& dividends, int64_t divisor) {
    const derf::cuda::Divider by{uint32_t(divisor)};
    at::Tensor found = at::empty_like(dividends);
    for (int64_t i = 0; i < found.numel(); ++i) {
      found.mutable_data_ptr<int64_t>()[i] = by.quotient(uint32_t(dividends.const_data_ptr<int64_t>()[i]));
    }
    return found;
  });
  m.def("evaluate(Tensor u, ScalarType dtype, str function='erf') -> (Tensor, Tensor, Tensor)", &evaluate);
}
