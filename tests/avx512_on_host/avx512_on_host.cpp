// The source of the AVX-512 kernels, and of the operators around them, compiled for a host that has AVX2, in the place
// of the CPU's own. torch.ops.load_library of this gives
//   derf_avx512_on_host::install(bool guard_ends, bool stream) -> ()
//   derf_avx512_on_host::evaluate(Tensor u, ScalarType dtype, str function) -> (Tensor, Tensor, Tensor)
//   derf_avx512_on_host::streamed() -> int
#include "avx512.h"
//
#include "../../csrc/cpu/kernels_avx512.cpp"
//
#include "../cpu_on_host.h"
#include "../cuda_on_host/guarded_allocator.h"

const derf::cpu::Kernels& on_host::kernels() { return derf::cpu::AVX512::kernels; }

namespace {

void install(bool guard_ends, bool stream) {
  on_host::guard_allocations(guard_ends);
  on_host::install_operators(stream);
}

}  // namespace

TORCH_LIBRARY(derf_avx512_on_host, m) {
  m.def("install(bool guard_ends, bool stream) -> ()", &install);
  m.def("evaluate(Tensor u, ScalarType dtype, str function='erf') -> (Tensor, Tensor, Tensor)", &on_host::evaluate);
  m.def("streamed() -> int", [] { return on_host::streamed; });
}
