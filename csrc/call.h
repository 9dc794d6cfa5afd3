// What a kernel is told, on every device: plain pointers and sizes, neither tensors nor headers of torch or CUDA.
#pragma once
#include <cstdint>

#include "format.h"
#include "functions/functions.h"
#include "functions/study.h"
#include "visibility.h"

namespace derf {

enum class Type : int32_t { f64, f32, f16, bf16 };

// Memory seen as [groups, rows, channels, inner], dense. weight and bias hold a value for each channel, of each group
// where there are groups: (groups > 1) rows of one group share them.
struct Shape {
  int64_t groups = 1, rows = 1, channels = 1, inner = 1;

  int64_t outer() const { return groups * rows; }
  int64_t numel() const { return outer() * channels * inner; }

  // Neighbours in memory belong to different channels: loops run over rows. Else over stretches of one channel.
  bool in_rows() const { return inner == 1 && channels > 1; }
};

// weight or bias in memory: channels lie side by side, groups group_stride elements apart (0: all share the first).
struct ChannelParameter {
  const void* data = nullptr;  // null where absent
  Type type = Type::f32;
  int64_t group_stride = 0;
};

struct Gate : ChannelParameter {
  bool shared = false;  // one element for all channels of a group
};

// alpha or shift in memory: one element, or one for each channel. Read on the device: nothing waits for it.
struct Scalar {
  const void* data = nullptr;  // null where absent (shift)
  Type type = Type::f32;
};

// The function is applied to input, or (`adds`) to sum = residual + gate * input.
struct Call {
  Type type;  // of input, output and their gradients
  Shape shape;
  const void* input;  // may be null in a backward that adds
  Scalar alpha, shift;
  bool alpha_per_channel;  // and shift
  ChannelParameter weight, bias;
  double weight_offset;  // added to weight, which then counts from there
  Function function;
  Study study;
  bool adds = false;
  Type sum_type = Type::f32;  // of residual, sum and their gradients
  Gate gate = {};
};

// An 8-bit result beside or instead of the output: output / scale, rounded to nearest even and saturated.
struct Quantized {
  void* data = nullptr;  // null: not wanted
  Format format = Format::int8;
  const float* scale = nullptr;  // one, or one for each channel
  bool per_channel = false;
};

struct Forward : Call {
  void* output;  // null where the 8-bit result alone is wanted
  const void* residual = nullptr;
  void* sum = nullptr;
  Quantized quantized = {};
};

// A gradient, of the layout [groups, channels] or one element; null where it is not wanted.
struct Result {
  void* data = nullptr;
  Type type = Type::f32;
};

struct Backward : Call {
  const void* grad_output;
  void* grad_input;  // null where it is not wanted
  Result grad_alpha, grad_shift, grad_weight, grad_bias;
  const void* sum = nullptr;
  const void* grad_sum = nullptr;  // what comes to the sum's gradient from elsewhere, or null
  void* grad_residual = nullptr;
  Result grad_gate = {};
};

}  // namespace derf
