// The operators on CUDA: allocate and launch. Nothing here waits for the device.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/DeviceGuard.h>

#include "../device.h"
#include "../out.h"
#include "../quantized.h"
#include "../registration.h"
#include "launch.h"

#if !defined(DERF_CUDA_ON_HOST)
#include <c10/cuda/CUDAStream.h>
#endif

namespace derf::cuda {
namespace {

// Of the current device. (Where tests run the kernels on the host there is none.)
void* current_stream() {
#if defined(DERF_CUDA_ON_HOST)
  return nullptr;
#else
  return c10::cuda::getCurrentCUDAStream().stream();
#endif
}

void check_launch(const char* error) {
  TORCH_CHECK(!error, "derf: CUDA error: ", error, " (kernels compiled for: ", DERF_CUDA_ARCHITECTURES, ")");
}

struct Device {
  using Guard = c10::DeviceGuard;

  static Tensor empty(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype, const Tensor& like) {
    return at::empty_strided(sizes, strides, like.options().dtype(dtype));
  }
  static Tensor empty(at::IntArrayRef sizes, const Tensor& like, at::ScalarType dtype) {
    return at::empty(sizes, like.options().dtype(dtype));
  }

  static void forward(const Forward& call, const Tensor&) { check_launch(kernels.forward(call, current_stream())); }

  static void backward(const Backward& call, const Tensor& like) {
    const Tensor workspace = at::empty({kernels.workspace_bytes(call)}, like.options().dtype(at::kByte));
    check_launch(kernels.backward(call, workspace.mutable_data_ptr(), current_stream()));
  }
};

}  // namespace
}  // namespace derf::cuda

#if !defined(DERF_CUDA_ON_HOST)
TORCH_LIBRARY_IMPL(derf, CUDA, m) {
  using derf::cuda::Device;
  derf::implement<derf::forward_on<Device>, derf::backward_on<Device>>(m);
  derf::implement_add<derf::add_forward_on<Device>, derf::add_backward_on<Device>>(m);
  derf::implement_out<derf::forward_into<Device>>(m);
  derf::implement_quantized<derf::quantized_on<Device>>(m);
}
#endif
