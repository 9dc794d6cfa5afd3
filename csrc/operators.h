// The operators in C++, dispatched as from Python (autograd, meta tensors and transforms included). Public, and light
// to compile; derf.h adds the module.
#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "visibility.h"

namespace derf {

// weight * erf(alpha * input + shift) + bias, in one pass. alpha and shift have one element; weight and bias the shape
// of input's trailing dimensions, or one dimension along channel_dim where that is not the last one. See
// docs/support.md.
DERF_API at::Tensor derf(const at::Tensor& input, const at::Tensor& alpha, const at::Tensor& shift,
                         const std::optional<at::Tensor>& weight = {}, const std::optional<at::Tensor>& bias = {},
                         int64_t channel_dim = -1);

// The same into memory that is there: `out` has input's shape and dtype, or is input. Not differentiable.
DERF_API at::Tensor& derf_out(at::Tensor& out, const at::Tensor& input, const at::Tensor& alpha,
                              const at::Tensor& shift, const std::optional<at::Tensor>& weight = {},
                              const std::optional<at::Tensor>& bias = {}, int64_t channel_dim = -1);

// What pointwise_norm takes beside tensors; docs/family.md says what each does.
struct PointwiseNormCall {
  std::string_view function = "erf";
  int64_t channel_dim = -1;
  double weight_offset = 0;
  double dead_zone = 0, input_shift = 0, linear_mix = 0;
  std::optional<double> clip = {};
  double output_shift = 0;
  int64_t sign = 1;
};

// weight * f(alpha * input + shift) + bias for any function f of the family. alpha and shift have one element, or one
// for each channel.
DERF_API at::Tensor pointwise_norm(const at::Tensor& input, const at::Tensor& alpha,
                                   const std::optional<at::Tensor>& shift = {},
                                   const std::optional<at::Tensor>& weight = {},
                                   const std::optional<at::Tensor>& bias = {}, const PointwiseNormCall& options = {});

// The same into memory that is there, as derf_out.
DERF_API at::Tensor& pointwise_norm_out(at::Tensor& out, const at::Tensor& input, const at::Tensor& alpha,
                                        const std::optional<at::Tensor>& shift = {},
                                        const std::optional<at::Tensor>& weight = {},
                                        const std::optional<at::Tensor>& bias = {},
                                        const PointwiseNormCall& options = {});

// What add_pointwise_norm takes beside.
struct AddPointwiseNormCall {
  std::optional<at::Tensor> gate = {};
  std::string_view function = "erf";
  int64_t channel_dim = -1;
  double weight_offset = 0;
};

// sum = residual + gate * input, and the above of the sum in the place of input: (output, sum), in one pass. residual
// has input's shape and dtype, or is float32 beside a 16-bit input; sum has its dtype.
DERF_API std::tuple<at::Tensor, at::Tensor> add_pointwise_norm(const at::Tensor& input, const at::Tensor& residual,
                                                               const at::Tensor& alpha,
                                                               const std::optional<at::Tensor>& shift = {},
                                                               const std::optional<at::Tensor>& weight = {},
                                                               const std::optional<at::Tensor>& bias = {},
                                                               const AddPointwiseNormCall& options = {});

// The gradients of input, alpha, shift, weight and bias that output_mask asks for, in one pass; the others undefined.
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
DERF_API Gradients derf_backward(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& alpha,
                                 const at::Tensor& shift, const std::optional<at::Tensor>& weight,
                                 const std::optional<at::Tensor>& bias, int64_t channel_dim,
                                 std::array<bool, 5> output_mask);

// Facts of the build and of this machine, a "key: value" a line.
DERF_API std::string build_info();

// The instruction set whose CPU kernels run here: "default", "avx2" or "avx512". ATEN_CPU_CAPABILITY forces one.
DERF_API std::string cpu_capability();

// For tests and tools. The instruction sets that are built and that this processor runs, the least demanding first.
DERF_API std::vector<std::string> cpu_capabilities();

// Value and slope of a function of the family ("erf", "tanh", ...) at `count` points, as the CPU kernels of an
// instruction set compute them for tensors of `dtype` ("float64", "float32", "float16", "bfloat16"); the value twice,
// as for results and as for sums of gradients. u, value, value_in_sums and slope are addresses of double arrays with
// float64, else of float arrays.
DERF_API void evaluate(const std::string& function, const std::string& capability, const std::string& dtype,
                       uintptr_t u, uintptr_t value, uintptr_t value_in_sums, uintptr_t slope, int64_t count);

// The same function, or its first or second derivative (`order`), by PyTorch's own operations; float64 or float32.
DERF_API void evaluate_composite(const std::string& function, const std::string& dtype, int order, uintptr_t u,
                                 uintptr_t result, int64_t count);

// Of each function its name; its formula, a Python expression in u; the supremum of |f|; within how many ulp its value
// is in float32; whether it is monotone; and where it comes from.
DERF_API std::vector<std::tuple<std::string, std::string, double, double, bool, std::string>> functions();

}  // namespace derf
