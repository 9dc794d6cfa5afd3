#include "operands.h"

#include <ATen/WrapDimUtils.h>
#include <c10/core/SymIntArrayRef.h>

#include <algorithm>
#include <cmath>

#include "functions/composite.h"

namespace derf {
namespace {

bool is_16_bit(at::ScalarType t) { return t == at::kHalf || t == at::kBFloat16; }

void check_presence(const Tensor& tensor, const char* name) {
  TORCH_CHECK(tensor.defined(), "derf: ", name, " must be a tensor, but is absent");
}

void check_kind(const Tensor& input, const Tensor& tensor, const char* name) {
  check_presence(tensor, name);
  TORCH_CHECK(tensor.device() == input.device(), "derf: ", name, " must be on the device of input, ", input.device(),
              ", but is on ", tensor.device());
  TORCH_CHECK(tensor.layout() == at::kStrided, "derf: ", name, " must be a strided tensor, but has layout ",
              tensor.layout());
  const auto dtype = tensor.scalar_type(), expected = input.scalar_type();
  const bool wide = is_16_bit(expected);
  TORCH_CHECK(dtype == expected || (wide && dtype == at::kFloat), "derf: ", name, " must have the dtype of input, ",
              expected, wide ? ", or Float" : "", ", but has ", dtype);
}

void check_same_dtype(const Tensor& first, const char* first_name, const Tensor& second, const char* name) {
  TORCH_CHECK(first.scalar_type() == second.scalar_type(), "derf: ", name, " must have the dtype of ", first_name, ", ",
              first.scalar_type(), ", but has ", second.scalar_type());
}

// Device, layout and shape.
void check_like_input(const Tensor& input, const Tensor& tensor, const char* name) {
  check_presence(tensor, name);
  TORCH_CHECK(tensor.layout() == at::kStrided, "derf: ", name, " must be a strided tensor, but has layout ",
              tensor.layout());
  TORCH_CHECK(tensor.device() == input.device(), "derf: ", name, " must be on the device of input, ", input.device(),
              ", but is on ", tensor.device());
  const auto fail = [&](bool fits) {
    TORCH_CHECK(fits, "derf: ", name, " must have the shape of input, ", input.sym_sizes(), ", but has shape ",
                tensor.sym_sizes());
  };
  fail(tensor.dim() == input.dim());
  for (int64_t i = 0; i < input.dim(); ++i) {
    fail(tensor.sym_size(i).sym_eq(input.sym_size(i)).expect_true(__FILE__, __LINE__));
  }
}

// Whether it is known to hold. What PyTorch 2.7 asks instead takes no unknown size to be 1 either.
template <class Condition>
bool is(const Condition& condition) {
  if constexpr (requires { condition.guard_or_false(__FILE__, __LINE__); }) {
    return condition.guard_or_false(__FILE__, __LINE__);
  } else {
    return condition.guard_size_oblivious(__FILE__, __LINE__);
  }
}

// The channels lie in dimension `dim` of input, and in those before it where it is the last one. Dimensions before them
// are of the size of input's, or of size 1, where `grouped` allows them.
void check_channels(const Tensor& input, const Tensor& tensor, const char* name, int64_t dim, bool grouped,
                    const char* or_else) {
  const auto sizes = tensor.sym_sizes();
  const int64_t first = dim + 1 - int64_t(sizes.size());  // dimension of input beside the tensor's first
  const bool last = dim + 1 >= input.dim();
  const auto fail = [&](bool fits) {
    if (last) {
      TORCH_CHECK(fits, "derf: ", name, " must have the shape of trailing dimensions of input",
                  grouped ? " (or 1 in the place of any but the last)" : "", or_else, ", and input's shape is ",
                  input.sym_sizes(), ", but has shape ", sizes);
    } else {
      TORCH_CHECK(fits, "derf: ", name, " must have one dimension, of size ", input.sym_size(dim), " as dimension ",
                  dim, " of input (channel_dim)",
                  grouped ? ", and before it none, or dimensions of input's size or 1" : "", or_else,
                  ", but has shape ", sizes);
    }
  };
  fail(!sizes.empty() && first >= 0 && (last || grouped || sizes.size() == 1));
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto expected = input.sym_size(first + int64_t(i));
    const bool is_shared = grouped && i + 1 < sizes.size() && is(sizes[i].sym_eq(1));
    fail(is_shared || sizes[i].sym_eq(expected).expect_true(__FILE__, __LINE__));
  }
}

// gate may be as weight, have 1 in the place of any dimension, or all dimensions of input, with 1 after the channels.
void check_gate(const Tensor& input, const Tensor& gate, int64_t dim) {
  const auto sizes = gate.sym_sizes();
  const int64_t first = gate.dim() == input.dim() ? 0 : dim + 1 - gate.dim();
  bool fits = first >= 0;
  for (int64_t i = 0; fits && i < gate.dim(); ++i) {
    const bool is_one = is(sizes[i].sym_eq(1));
    fits = is_one || (first + i <= dim && sizes[i].sym_eq(input.sym_size(first + i)).expect_true(__FILE__, __LINE__));
  }
  TORCH_CHECK(fits, "derf: gate must have dimensions of input's size or 1 that end with dimension ", dim,
              " of input (channel_dim), or as many as input and 1 after that one, and input's shape is ",
              input.sym_sizes(), ", but has shape ", sizes);
}

void check_number(bool right, const char* name, double came, const char* expected) {
  TORCH_CHECK_VALUE(right, "derf: ", name, " must be ", expected, ", but is ", came);
}

}  // namespace

bool is_per_channel(const Tensor& tensor) {
  return tensor.dim() > 1 || (tensor.dim() == 1 && !is(tensor.sym_sizes()[0].sym_eq(1)));
}

Options options(std::string_view function, int64_t channel_dim, double weight_offset, double dead_zone,
                double input_shift, double linear_mix, std::optional<double> clip, double output_shift, int64_t sign) {
  check_number(std::isfinite(weight_offset), "weight_offset", weight_offset, "finite");
  check_number(std::isfinite(dead_zone) && dead_zone >= 0, "dead_zone", dead_zone, "finite and not negative");
  check_number(std::isfinite(input_shift), "input_shift", input_shift, "finite");
  check_number(linear_mix >= 0 && linear_mix <= 1, "linear_mix", linear_mix, "within [0, 1]");
  check_number(!clip || *clip > 0, "clip", clip.value_or(1), "positive");
  check_number(std::isfinite(output_shift), "output_shift", output_shift, "finite");
  check_number(sign == 1 || sign == -1, "sign", double(sign), "1 or -1");
  const Function f = function_of(function);
  TORCH_CHECK_VALUE(linear_mix == 0 || f != Function::linear,
                    "derf: linear_mix must be 0 where function is \"linear\", which it would mix with itself, but is ",
                    linear_mix);
  return {Name::pointwise_norm,
          f,
          channel_dim,
          weight_offset,
          {dead_zone, input_shift, linear_mix, clip.value_or(Study().clip), output_shift, double(sign)}};
}

Options add_options(std::string_view function, int64_t channel_dim, double weight_offset) {
  Options o = options(function, channel_dim, weight_offset, 0, 0, 0, {}, 0, 1);
  o.name = Name::add_pointwise_norm;
  return o;
}

std::vector<double> Options::packed() const {
  return {double(name),       double(function),  double(channel_dim), weight_offset,
          study.dead_zone,    study.input_shift, study.linear_mix,    std::isinf(study.clip) ? 0 : study.clip,
          study.output_shift, study.sign};
}

Options Options::unpacked(const std::vector<double>& n) {
  return {Name(int(n[0])),
          Function(int(n[1])),
          int64_t(n[2]),
          n[3],
          {n[4], n[5], n[6], n[7] == 0 ? Study().clip : n[7], n[8], n[9]}};
}

void check(const Operands& operands) {
  const Options& options = operands.options;
  const Tensor& input = operands.input();
  const auto dtype = input.scalar_type();
  TORCH_CHECK(input.layout() == at::kStrided, "derf: input must be a strided tensor, but has layout ", input.layout());
  TORCH_CHECK(dtype == at::kDouble || dtype == at::kFloat || is_16_bit(dtype),
              "derf: input must have dtype Double, Float, Half or BFloat16, but has ", dtype);
  const int64_t dims = std::max<int64_t>(input.dim(), 1);
  TORCH_CHECK_INDEX(-dims <= options.channel_dim && options.channel_dim < dims,
                    "derf: channel_dim must be a dimension of input, in [", -dims, ", ", dims - 1, "], but is ",
                    options.channel_dim);
  const int64_t dim = wrapped_channel_dim(options.channel_dim, input.dim());
  for (size_t i = RESIDUAL; i < OPERANDS; ++i) {
    const auto& [name, role, optional] = operand_table[i];
    const Tensor& tensor = operands[i];
    if (!tensor.defined()) {
      if (!optional) {
        check_presence(tensor, name);
      }
      continue;
    }
    check_kind(input, tensor, name);
    if (role == Role::elementwise) {
      check_like_input(input, tensor, name);
    } else if (role == Role::gate) {
      check_gate(input, tensor, dim);
    } else if (role == Role::channel) {
      check_channels(input, tensor, name, dim, /*grouped=*/true, "");
    } else if (is_per_channel(tensor)) {
      check_channels(input, tensor, name, dim, /*grouped=*/false, ", or one element, of shape [1] or []");
    }
  }
  const Tensor &alpha = operands[ALPHA], &shift = operands[SHIFT], &weight = operands[WEIGHT], &bias = operands[BIAS];
  if (shift.defined()) {
    check_same_dtype(alpha, "alpha", shift, "shift");
    TORCH_CHECK(
        is_per_channel(alpha) == is_per_channel(shift) && (!is_per_channel(alpha) || alpha.dim() == shift.dim()),
        "derf: shift must have as many elements as alpha, whose shape is ", alpha.sym_sizes(), ", but has shape ",
        shift.sym_sizes());
  }
  if (weight.defined() && bias.defined()) {
    check_same_dtype(weight, "weight", bias, "bias");
    TORCH_CHECK(weight.dim() == bias.dim(), "derf: bias must have as many dimensions as weight, whose shape is ",
                weight.sym_sizes(), ", but has shape ", bias.sym_sizes());
  }
  TORCH_CHECK_VALUE(weight.defined() || options.weight_offset == 0,
                    "derf: weight_offset must be 0 where weight is absent, but is ", options.weight_offset);
}

void check_grad_output(const Tensor& grad_output, const Tensor& input) {
  check_like_input(input, grad_output, "grad_output");
  check_same_dtype(input, "input", grad_output, "grad_output");
}

void check_out(const Operands& operands, const Tensor& out) {
  check_like_input(operands.input(), out, "out");
  check_same_dtype(operands.input(), "input", out, "out");
}

Operands checked_add_backward(const SumGradients& grads, const Operands& operands, const Mask& mask) {
  const auto& [grad_output, grad_sum, sum] = grads;
  auto tensors = operands.tensors();
  if (operands.input().defined()) {
    check_grad_output(grad_output, operands.input());
  } else {
    TORCH_CHECK(!mask[GATE] || !operands[GATE].defined(),
                "derf: input must be a tensor where the gradient of gate is asked for, but is absent");
    tensors[INPUT] = &grad_output;
  }
  const Operands complete(tensors, operands.options, operands.keys);
  check(complete);
  check_kind(complete.input(), sum, "sum");
  check_like_input(complete.input(), sum, "sum");
  if (grad_sum.defined()) {
    check_like_input(complete.input(), grad_sum, "grad_sum");
    check_same_dtype(sum, "sum", grad_sum, "grad_sum");
  }
  return complete;
}

Tensor aligned_gate(const Operands& operands) {
  const Tensor& gate = operands[GATE];
  if (!gate.defined()) {
    return gate;
  }
  const int64_t dims = wrapped_channel_dim(operands.options.channel_dim, operands.input().dim()) + 1;
  if (gate.dim() <= dims) {
    return gate;
  }
  return gate.reshape_symint(gate.sym_sizes().slice(0, dims));
}

int64_t wrapped_channel_dim(int64_t channel_dim, int64_t dim) {
  return dim == 0 ? -1 : at::maybe_wrap_dim(channel_dim, dim);
}

Tensor unsqueeze_to_channels(const Tensor& parameter, int64_t dim, int64_t channel_dim) {
  auto sizes = parameter.sym_sizes().vec();
  sizes.insert(sizes.end(), dim - 1 - wrapped_channel_dim(channel_dim, dim), 1);
  return sizes.size() == size_t(parameter.dim()) ? parameter : parameter.reshape_symint(sizes);
}

}  // namespace derf
