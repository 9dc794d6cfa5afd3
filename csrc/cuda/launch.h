// The calls that launch the CUDA kernels. No headers of CUDA, so that the operators compile without nvcc.
#pragma once
#include "../call.h"

namespace derf::cuda {

// How many bytes of scratch memory `launch_backward` needs on the current device.
int64_t workspace_bytes(const Backward& call);

// Launch on a stream (a cudaStream_t) of the current device. Return null, or what went wrong.
const char* launch_forward(const Forward& call, void* stream);
const char* launch_backward(const Backward& call, void* workspace, void* stream);

}  // namespace derf::cuda
