// What an operator takes: one table of its tensors, one struct of its options. All that goes over the arguments of an
// operator (check, autograd node, vmap, composite, meta) loops over the table.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/DispatchKeySet.h>

#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "functions/functions.h"
#include "functions/study.h"

namespace derf {

using at::Tensor;

enum class Role {
  elementwise,  // input
  scalar,       // one element, or one for each channel
  channel,      // one for each channel, of each group where it has leading dimensions
};

struct Operand {
  const char* name;
  Role role;
  bool optional;
};

enum OperandIndex : size_t { INPUT, ALPHA, SHIFT, WEIGHT, BIAS, OPERANDS };

inline constexpr std::array<Operand, OPERANDS> operand_table{{
    {"input", Role::elementwise, false},
    {"alpha", Role::scalar, false},
    {"shift", Role::scalar, true},
    {"weight", Role::channel, true},
    {"bias", Role::channel, true},
}};

// A gradient for each operand; what is not wanted, or absent, is undefined.
using GradientList = std::array<Tensor, OPERANDS>;
using Mask = std::array<bool, OPERANDS>;

// Which operator is called, where two do the same.
enum class Name { derf, pointwise_norm };

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

inline const Tensor& given(const std::optional<Tensor>& tensor) {
  static const Tensor absent;
  return tensor ? *tensor : absent;
}

// The options of derf::pointwise_norm from its arguments, checked.
Options options(std::string_view function, int64_t channel_dim, double weight_offset, double dead_zone,
                double input_shift, double linear_mix, std::optional<double> clip, double output_shift, int64_t sign);

// The tensors of one call, which it borrows: absent ones are undefined.
class Operands {
  std::array<const Tensor*, OPERANDS> tensors_;

 public:
  Options options;
  c10::DispatchKeySet keys;  // of the call, where a kernel passes it on

  Operands(std::array<const Tensor*, OPERANDS> tensors, const Options& options_, c10::DispatchKeySet keys_ = {})
      : tensors_(tensors), options(options_), keys(keys_) {}
  Operands(const std::array<Tensor, OPERANDS>& tensors, const Options& options_) : options(options_) {
    for (size_t i = 0; i < OPERANDS; ++i) {
      tensors_[i] = &tensors[i];
    }
  }

  const Tensor& operator[](size_t index) const { return *tensors_[index]; }
  const Tensor& input() const { return *tensors_[INPUT]; }
};

// The operators through the dispatcher: from the top, or from the given keys on.
Tensor call(const Operands& operands);
Tensor redispatch(const Operands& operands, c10::DispatchKeySet keys);
GradientList call_backward(const Tensor& grad_output, const Operands& operands, Mask mask);
GradientList redispatch_backward(const Tensor& grad_output, const Operands& operands, Mask mask,
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
// Whether alpha (or shift) has the shape of the channels. Else it has one element.
bool is_per_channel(const Tensor& alpha);

// channel_dim counted from 0 for an input of `dim` dimensions; -1 where it has none.
int64_t wrapped_channel_dim(int64_t channel_dim, int64_t dim);

// A parameter viewed so that it broadcasts against an input of `dim` dimensions.
Tensor unsqueeze_to_channels(const Tensor& parameter, int64_t dim, int64_t channel_dim);

}  // namespace derf
