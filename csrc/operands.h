// What an operator takes: one table of its tensors, one struct of its options. All that goes over the arguments of an
// operator (check, autograd node, vmap, composite, meta) loops over the table.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/DispatchKeySet.h>

#include <array>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "functions/functions.h"
#include "functions/study.h"

namespace derf {

using at::Tensor;

enum class Role {
  elementwise,  // input, and what has its shape
  scalar,       // one element, or one for each channel
  channel,      // one for each channel, of each group where it has leading dimensions
  gate,         // the same, or one for all channels
};

struct Operand {
  const char* name;
  Role role;
  bool optional;
};

// Parameters are those from ALPHA on.
enum OperandIndex : size_t { INPUT, RESIDUAL, ALPHA, SHIFT, WEIGHT, BIAS, GATE, OPERANDS };

inline constexpr std::array<Operand, OPERANDS> operand_table{{
    {"input", Role::elementwise, false},
    {"residual", Role::elementwise, true},
    {"alpha", Role::scalar, false},
    {"shift", Role::scalar, true},
    {"weight", Role::channel, true},
    {"bias", Role::channel, true},
    {"gate", Role::gate, true},
}};

// A gradient for each operand; what is not wanted, or absent, is undefined.
using GradientList = std::array<Tensor, OPERANDS>;
using Mask = std::array<bool, OPERANDS>;

// Which operator is called.
enum class Name { derf, pointwise_norm, add_pointwise_norm };

struct Options {
  Name name = Name::derf;
  Function function = Function::erf;
  int64_t channel_dim = -1;
  double weight_offset = 0;
  Study study{};

  // All of it as numbers, and back.
  std::vector<double> packed() const;
  static Options unpacked(const std::vector<double>& numbers);
};

inline const Tensor& absent() {
  static const Tensor tensor;
  return tensor;
}
inline const Tensor& given(const std::optional<Tensor>& tensor) { return tensor ? *tensor : absent(); }

// The options of derf::pointwise_norm and of derf::add_pointwise_norm from their arguments, checked.
Options options(std::string_view function, int64_t channel_dim, double weight_offset, double dead_zone,
                double input_shift, double linear_mix, std::optional<double> clip, double output_shift, int64_t sign);
Options add_options(std::string_view function, int64_t channel_dim, double weight_offset);

using Borrowed = std::array<const Tensor*, OPERANDS>;
// The tensors of the operators that add nothing, as Operands has them.
inline Borrowed plain(const Tensor& input, const Tensor& alpha, const Tensor& shift, const Tensor& weight,
                      const Tensor& bias) {
  return {&input, &absent(), &alpha, &shift, &weight, &bias, &absent()};
}

// The tensors of one call, which it borrows: absent ones are undefined.
class Operands {
  Borrowed tensors_;

 public:
  Options options;
  c10::DispatchKeySet keys;  // of the call, where a kernel passes it on

  Operands(const Borrowed& tensors, const Options& options_, c10::DispatchKeySet keys_ = {})
      : tensors_(tensors), options(options_), keys(keys_) {}
  Operands(const std::array<Tensor, OPERANDS>& tensors, const Options& options_) : options(options_) {
    for (size_t i = 0; i < OPERANDS; ++i) {
      tensors_[i] = &tensors[i];
    }
  }

  const Tensor& operator[](size_t index) const { return *tensors_[index]; }
  const Borrowed& tensors() const { return tensors_; }
  const Tensor& input() const { return *tensors_[INPUT]; }
};

// The operators through the dispatcher: from the top, or from the given keys on.
Tensor call(const Operands& operands);
Tensor redispatch(const Operands& operands, c10::DispatchKeySet keys);
GradientList call_backward(const Tensor& grad_output, const Operands& operands, Mask mask);
GradientList redispatch_backward(const Tensor& grad_output, const Operands& operands, Mask mask,
                                 c10::DispatchKeySet keys);

// Of derf::add_pointwise_norm: output and sum; and what its backward takes beside the operands, of which residual is
// absent, and input where no gradient of gate is wanted.
using Added = std::tuple<Tensor, Tensor>;
struct SumGradients {
  const Tensor &output, &sum;  // the gradients; the latter may be undefined
  const Tensor& value;         // of the sum
};
Added call_add(const Operands& operands);
Added redispatch_add(const Operands& operands, c10::DispatchKeySet keys);
GradientList call_add_backward(const SumGradients& grads, const Operands& operands, Mask mask);
GradientList redispatch_add_backward(const SumGradients& grads, const Operands& operands, Mask mask,
                                     c10::DispatchKeySet keys);

// Refuses what the operators do not take, naming the argument, what came and what was expected. Sizes may be symbolic.
// Every kernel calls it, so that nothing gets around it, inference mode included.
void check(const Operands& operands);
// The same for what the backward adds.
void check_grad_output(const Tensor& grad_output, const Tensor& input);
// The same for a tensor that the output is to be written to.
void check_out(const Operands& operands, const Tensor& out);
// The same for its memory, which must not be that of an operand, but for input itself.
void check_out_memory(const Operands& operands, const Tensor& out);
// Both for a backward of derf::add_pointwise_norm. The operands it gives have grad_output in the place of an absent
// input, whose shape and dtype it has.
Operands checked_add_backward(const SumGradients& grads, const Operands& operands, const Mask& mask);
// gate without the dimensions of size 1 after the channels: dimensions of input that end with the last of the channels.
Tensor aligned_gate(const Operands& operands);

// What derf::quantized_pointwise_norm takes beside the operands: it stores output / scale as dtype.
struct Quantization {
  const Tensor& scale;
  at::ScalarType dtype;
  bool unquantized;  // whether output is wanted as well
};
// Refuses what it does not take.
void check_quantization(const Operands& operands, const Quantization& quantization);
// The same for the scale's values, where they can be read without waiting for a device.
void check_scale_values(const Tensor& scale);

// Whether alpha (or shift) has the shape of the channels. Else it has one element.
bool is_per_channel(const Tensor& alpha);

// channel_dim counted from 0 for an input of `dim` dimensions; -1 where it has none.
int64_t wrapped_channel_dim(int64_t channel_dim, int64_t dim);

// A parameter viewed so that it broadcasts against an input of `dim` dimensions.
Tensor unsqueeze_to_channels(const Tensor& parameter, int64_t dim, int64_t channel_dim);

}  // namespace derf
