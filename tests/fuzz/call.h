// A call of one of derf's operators: its arguments by their names in the schema.
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bytes.h"

namespace fuzz {

using at::Tensor;

struct Call {
  std::optional<c10::OperatorHandle> op;
  std::string name;                       // without "derf::" and "_composite"
  bool composite = false;                 // in ATen's own operators
  bool through_autograd = false;          // the backward is called by autograd
  std::map<std::string, Tensor> tensors;  // those that are present
  std::string function = "erf";
  int64_t channel_dim = -1, sign = 1, order = 0;
  double weight_offset = 0, dead_zone = 0, input_shift = 0, linear_mix = 0, output_shift = 0;
  std::optional<double> clip;
  at::ScalarType dtype = at::kChar;  // of what is quantized
  bool unquantized = false;
  std::vector<bool> output_mask;

  // Undefined where it is absent.
  Tensor tensor(const std::string& argument) const {
    const auto found = tensors.find(argument);
    return found == tensors.end() ? Tensor() : found->second;
  }
  // What has the shape of the result.
  Tensor like() const { return tensor(is_add_backward() ? "sum" : is_function() ? "u" : "input"); }
  bool is(const char* what) const { return name == what; }
  bool is_function() const { return is("function"); }
  bool is_quantized() const { return is("quantized_pointwise_norm"); }
  bool is_backward() const { return name.ends_with("_backward"); }
  bool is_add_backward() const { return is("add_pointwise_norm_backward"); }
  bool in_place() const { return name.ends_with("_"); }
  bool writes() const { return in_place() || tensors.contains("out"); }
};

// A call from bytes, mostly a right one.
Call decode(Bytes& bytes);

// Whether README.md promises a result rather than an error; nothing of the library is asked.
bool is_valid(const Call& call);
// Whether sizes are such that there is no memory for a result: such a call may be refused for that.
bool is_huge(const Call& call);

// Calls it, and gives the results by the names of what they belong to: "output", "sum", "quantized", or the operand of
// a gradient.
std::map<std::string, Tensor> run(const Call& call);

// What is wrong with the results, or nothing.
std::string difference(const Call& call, const std::map<std::string, Tensor>& results);

// A text of the call, for reports.
std::string shown(const Call& call);

}  // namespace fuzz
