// The calls that launch the CUDA kernels. No headers of CUDA, so that the operators compile without nvcc.
#pragma once
#include "../call.h"

namespace derf::cuda {

struct Kernels {
  // How many bytes of scratch memory `backward` needs on the current device.
  int64_t (*workspace_bytes)(const Backward&);
  // Launch on a stream (a cudaStream_t) of the current device. Return null, or what went wrong.
  const char* (*forward)(const Forward&, void* stream);
  const char* (*backward)(const Backward&, void* workspace, void* stream);
};

// Defined in kernels.cu.
DERF_API extern const Kernels kernels;

}  // namespace derf::cuda
