// The source of the AVX-512 kernels, and of the operators around them, compiled for a host that has AVX2, in the place
// of the CPU's own. torch.ops.load_library of this gives
//   derf_avx512_on_host::install(bool guard_ends, bool stream) -> ()
//   derf_avx512_on_host::evaluate(Tensor u, ScalarType dtype, str function) -> (Tensor, Tensor, Tensor)
//   derf_avx512_on_host::streamed() -> int
#include "avx512.h"
//
#include "../../csrc/cpu/kernels_avx512.cpp"
//
#include <ATen/ops/empty_like.h>

#include "../../csrc/functions/composite.h"
#include "../../csrc/registration.h"
#include "../cuda_on_host/guarded_allocator.h"
// What registers the operators with PyTorch on loading does so when it is called.
#undef TORCH_LIBRARY_IMPL
#define TORCH_LIBRARY_IMPL(name, device, m) static void register_operators(torch::Library& m)
namespace derf::cpu {
using derf::AVX512::CompensatedSums;  // in a file of its own the operator would have its own
}
#include "../../csrc/cpu/operator.cpp"

namespace {

bool stream_everything = false;

// Tasks of small tensors go past the cache as well where that is to be tried.
template <class Task, void (*derf::cpu::Kernels::*kernel)(const Task&, int64_t, int64_t)>
void run(const Task& task, int64_t begin, int64_t end) {
  Task changed = task;
  changed.out_of_cache |= stream_everything;
  (derf::cpu::AVX512::kernels.*kernel)(changed, begin, end);
}

void install(bool guard_ends, bool stream) {
  stream_everything = stream;
  on_host::guard_allocations(guard_ends);
  static auto library = MAKE_TORCH_LIBRARY_IMPL(derf, CPU);
  register_operators(library);
}

// Value, value in sums (where kernels tell them apart) and slope at u (float64 with dtype float64, else float32), as in
// a kernel for tensors of `dtype`.
std::tuple<at::Tensor, at::Tensor, at::Tensor> evaluate(const at::Tensor& u, at::ScalarType dtype,
                                                        const std::string& function) {
  TORCH_CHECK(u.is_contiguous() && u.scalar_type() == (dtype == at::kDouble ? at::kDouble : at::kFloat));
  const at::Tensor value = at::empty_like(u), in_sums = at::empty_like(u), slope = at::empty_like(u);
  derf::cpu::AVX512::kernels.evaluate({derf::function_of(function), derf::type_of(dtype), u.const_data_ptr(),
                                       value.mutable_data_ptr(), in_sums.mutable_data_ptr(), slope.mutable_data_ptr(),
                                       u.numel()});
  return {value, in_sums, slope};
}

}  // namespace

const derf::cpu::Kernels& derf::cpu::chosen_kernels() {
  static const Kernels kernels = [] {
    Kernels all = AVX512::kernels;
    all.forward = &run<ForwardTask, &Kernels::forward>;
    all.backward = &run<BackwardTask, &Kernels::backward>;
    return all;
  }();
  return kernels;
}

TORCH_LIBRARY(derf_avx512_on_host, m) {
  m.def("install(bool guard_ends, bool stream) -> ()", &install);
  m.def("evaluate(Tensor u, ScalarType dtype, str function='erf') -> (Tensor, Tensor, Tensor)", &evaluate);
  m.def("streamed() -> int", [] { return on_host::streamed; });
}
