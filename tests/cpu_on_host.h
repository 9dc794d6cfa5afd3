// The CPU's operators in a library of the tests, to be run by other kernels than the processor's own: those that
// on_host::kernels() gives. Once in each library.
#pragma once
#include <ATen/ops/empty_like.h>

#include "../csrc/cpu/tasks.h"
#include "../csrc/functions/composite.h"
#include "../csrc/registration.h"
// What registers the operators with PyTorch on loading does so when it is called.
#undef TORCH_LIBRARY_IMPL
#define TORCH_LIBRARY_IMPL(name, device, m) static void register_operators(torch::Library& m)
#ifdef CPU_CAPABILITY
namespace derf::cpu {
using derf::CPU_CAPABILITY::CompensatedSums;  // in a file of its own the operator would have its own
}
#endif
#include "../csrc/cpu/operator.cpp"

namespace on_host {

const derf::cpu::Kernels& kernels();

inline bool stream_everything = false;

// Tasks of small tensors go past the cache as well where that is to be tried.
template <class Task, void (*derf::cpu::Kernels::*kernel)(const Task&, int64_t, int64_t)>
void run(const Task& task, int64_t begin, int64_t end) {
  Task changed = task;
  changed.out_of_cache |= stream_everything;
  (kernels().*kernel)(changed, begin, end);
}

inline void install_operators(bool stream) {
  stream_everything = stream;
  static auto library = MAKE_TORCH_LIBRARY_IMPL(derf, CPU);
  register_operators(library);
}

// Value, value in sums (where kernels tell them apart) and slope at u (float64 with dtype float64, else float32), as in
// a kernel for tensors of `dtype`.
inline std::tuple<at::Tensor, at::Tensor, at::Tensor> evaluate(const at::Tensor& u, at::ScalarType dtype,
                                                               const std::string& function) {
  TORCH_CHECK(u.is_contiguous() && u.scalar_type() == (dtype == at::kDouble ? at::kDouble : at::kFloat));
  const at::Tensor value = at::empty_like(u), in_sums = at::empty_like(u), slope = at::empty_like(u);
  kernels().evaluate({derf::function_of(function), derf::type_of(dtype), u.const_data_ptr(), value.mutable_data_ptr(),
                      in_sums.mutable_data_ptr(), slope.mutable_data_ptr(), u.numel()});
  return {value, in_sums, slope};
}

}  // namespace on_host

const derf::cpu::Kernels& derf::cpu::chosen_kernels() {
  static const Kernels chosen = [] {
    Kernels all = on_host::kernels();
    all.forward = &on_host::run<ForwardTask, &Kernels::forward>;
    all.backward = &on_host::run<BackwardTask, &Kernels::backward>;
    return all;
  }();
  return chosen;
}
