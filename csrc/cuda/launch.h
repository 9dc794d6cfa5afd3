// What the CUDA kernels are told, and the calls that launch them: plain pointers and sizes, neither tensors nor headers
// of CUDA, so that kernels compile without torch and the operators without nvcc.
#pragma once
#include <cstdint>

#include "tiles.h"

namespace derf::cuda {

enum class Type : int32_t { f64, f32, f16, bf16 };

// A parameter in memory, which the device reads: nothing waits for it.
struct Scalar {
  const void* data;
  Type type;
};

struct Forward {
  Type type, param_type;  // of input and output; of weight and bias
  Shape shape;
  const void* input;
  void* output;
  const void *weight, *bias;  // null where absent
  Scalar alpha, shift;
};

struct Backward {
  Type type, param_type;
  Shape shape;
  const void *grad_output, *input, *weight;  // weight null where absent
  Scalar alpha, shift;
  void *grad_input, *grad_alpha, *grad_shift, *grad_weight, *grad_bias;  // null: not wanted
  void* workspace;                                                       // of workspace_bytes(call) bytes
};

// How many bytes of scratch memory `launch_backward` needs on the current device.
int64_t workspace_bytes(const Backward& call);

// Launch on a stream (a cudaStream_t) of the current device. Return null, or what went wrong.
const char* launch_forward(const Forward& call, void* stream);
const char* launch_backward(const Backward& call, void* stream);

}  // namespace derf::cuda
