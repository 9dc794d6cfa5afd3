// The contract: every operator's schema. Kernels register themselves, by dispatch key, in the folders beside this file.
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/StringUtil.h>
#include <torch/library.h>
#include <torch/version.h>

#include "operators.h"
#include "out.h"
#include "quantized.h"
#include "registration.h"

namespace {

// A line for each function of the family: name, formula, bound, float32 ulp, monotone or not, source, with tabs
// between.
std::vector<std::string> function_table() {
  std::vector<std::string> lines;
  for (const auto& [name, formula, bound, ulp, monotone, source] : derf::functions()) {
    lines.push_back(c10::str(name, '\t', formula, '\t', bound, '\t', ulp, '\t', monotone, '\t', source));
  }
  return lines;
}

}  // namespace

TORCH_LIBRARY(derf, m) {
  const std::vector<at::Tag> tags{at::Tag::pt2_compliant_tag};
  m.def(
      "derf(Tensor input, Tensor alpha, Tensor shift, Tensor? weight=None, Tensor? bias=None, int channel_dim=-1)"
      " -> Tensor",
      tags);
  m.def(
      "derf_backward(Tensor grad_output, Tensor input, Tensor alpha, Tensor shift, Tensor? weight, Tensor? bias,"
      " int channel_dim, bool[5] output_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
      tags);
  m.def(
      "derf.out(Tensor input, Tensor alpha, Tensor shift, Tensor? weight=None, Tensor? bias=None, int channel_dim=-1,"
      " *, Tensor(a!) out) -> Tensor(a!)",
      tags);
  m.def(
      "derf_(Tensor(a!) input, Tensor alpha, Tensor shift, Tensor? weight=None, Tensor? bias=None,"
      " int channel_dim=-1) -> Tensor(a!)",
      tags);
  const std::string options =
      " str function=\"erf\", int channel_dim=-1, float weight_offset=0.0, float dead_zone=0.0, float input_shift=0.0,"
      " float linear_mix=0.0, float? clip=None, float output_shift=0.0, int sign=1";
  const std::string parameters = " Tensor alpha, Tensor? shift=None, Tensor? weight=None, Tensor? bias=None, *,";
  m.def(("pointwise_norm.out(Tensor input," + parameters + options + ", Tensor(a!) out) -> Tensor(a!)").c_str(), tags);
  m.def(("pointwise_norm_(Tensor(a!) input," + parameters + options + ") -> Tensor(a!)").c_str(), tags);
  // The second of each is the same in ATen's own operators: what a decomposition traces.
  for (const std::string suffix : {"", "_composite"}) {
    m.def(("pointwise_norm" + suffix + "(Tensor input," + parameters + options + ") -> Tensor").c_str(), tags);
    m.def(("pointwise_norm_backward" + suffix +
           "(Tensor grad_output, Tensor input, Tensor alpha, Tensor? shift, Tensor? weight, Tensor? bias,"
           " int channel_dim, str function, float weight_offset, float dead_zone, float input_shift,"
           " float linear_mix, float? clip, float output_shift, int sign, bool[5] output_mask)"
           " -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
              .c_str(),
          tags);
    m.def(("add_pointwise_norm" + suffix +
           "(Tensor input, Tensor residual, Tensor alpha, Tensor? shift=None, Tensor? weight=None, Tensor? bias=None,"
           " Tensor? gate=None, *, str function=\"erf\", int channel_dim=-1, float weight_offset=0.0)"
           " -> (Tensor output, Tensor sum)")
              .c_str(),
          tags);
    m.def(("add_pointwise_norm_backward" + suffix +
           "(Tensor grad_output, Tensor? grad_sum, Tensor? input, Tensor sum, Tensor alpha, Tensor? shift,"
           " Tensor? weight, Tensor? bias, Tensor? gate, int channel_dim, str function, float weight_offset,"
           " bool[7] output_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)")
              .c_str(),
          tags);
    m.def(("quantized_pointwise_norm" + suffix +
           "(Tensor input, Tensor scale, Tensor alpha, Tensor? shift=None, Tensor? weight=None, Tensor? bias=None,"
           " Tensor? residual=None, Tensor? gate=None, *, ScalarType dtype, bool unquantized=False,"
           " str function=\"erf\", int channel_dim=-1, float weight_offset=0.0)"
           " -> (Tensor quantized, Tensor output, Tensor sum)")
              .c_str(),
          tags);
    m.def(("function" + suffix + "(Tensor u, str function, int order=0) -> Tensor").c_str(), tags);
  }
  m.def("functions() -> str[]", &function_table);
  m.def("build_info() -> str", &derf::build_info);
  m.def("cpu_capability() -> str", &derf::cpu_capability);
}

namespace derf {
namespace {

template <class Signature>
auto find(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

OptionalTensor optional(const Tensor& tensor) { return tensor.defined() ? OptionalTensor(tensor) : std::nullopt; }

std::optional<double> optional_clip(const Study& study) {
  return study.clip == Study().clip ? std::nullopt : std::optional(study.clip);
}

// call(operator, arguments...) for the operator that the operands name.
template <class Call>
auto forward(const Operands& o, const Call& call) {
  const auto& [name, function, channel_dim, weight_offset, study] = o.options;
  if (name == Name::derf) {
    static const auto op = find<decltype(::derf::derf)>("derf::derf");
    return call(op, o[INPUT], o[ALPHA], o[SHIFT], optional(o[WEIGHT]), optional(o[BIAS]), channel_dim);
  }
  using Signature =
      Tensor(const Tensor&, const Tensor&, const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
             std::string_view, int64_t, double, double, double, double, std::optional<double>, double, int64_t);
  static const auto op = find<Signature>("derf::pointwise_norm");
  return call(op, o[INPUT], o[ALPHA], optional(o[SHIFT]), optional(o[WEIGHT]), optional(o[BIAS]), name_of(function),
              channel_dim, weight_offset, study.dead_zone, study.input_shift, study.linear_mix, optional_clip(study),
              study.output_shift, int64_t(study.sign));
}

template <class Call>
void into(const Operands& o, const Tensor& out, const Call& call) {
  const auto& [name, function, channel_dim, weight_offset, study] = o.options;
  if (name == Name::derf) {
    using Signature = Tensor(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&, const OptionalTensor&,
                             int64_t, const Tensor&);
    static const auto op = find<Signature>("derf::derf", "out");
    call(op, o[INPUT], o[ALPHA], o[SHIFT], optional(o[WEIGHT]), optional(o[BIAS]), channel_dim, out);
    return;
  }
  using Signature = Tensor(const Tensor&, const Tensor&, const OptionalTensor&, const OptionalTensor&,
                           const OptionalTensor&, std::string_view, int64_t, double, double, double, double,
                           std::optional<double>, double, int64_t, const Tensor&);
  static const auto op = find<Signature>("derf::pointwise_norm", "out");
  call(op, o[INPUT], o[ALPHA], optional(o[SHIFT]), optional(o[WEIGHT]), optional(o[BIAS]), name_of(function),
       channel_dim, weight_offset, study.dead_zone, study.input_shift, study.linear_mix, optional_clip(study),
       study.output_shift, int64_t(study.sign), out);
}

template <class Call>
GradientList backward(const Tensor& grad_output, const Operands& o, Mask mask, const Call& call) {
  const auto as_list = [](Gradients&& gradients) {
    auto& [input, alpha, shift, weight, bias] = gradients;
    return GradientList{std::move(input),  Tensor(),        std::move(alpha), std::move(shift),
                        std::move(weight), std::move(bias), Tensor()};
  };
  const auto& [name, function, channel_dim, weight_offset, study] = o.options;
  if (name == Name::derf) {
    static const auto op = find<decltype(::derf::derf_backward)>("derf::derf_backward");
    return as_list(call(op, grad_output, o[INPUT], o[ALPHA], o[SHIFT], optional(o[WEIGHT]), optional(o[BIAS]),
                        channel_dim, as_plain(mask)));
  }
  using Signature = Gradients(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&, const OptionalTensor&,
                              const OptionalTensor&, int64_t, std::string_view, double, double, double, double,
                              std::optional<double>, double, int64_t, PlainMask);
  static const auto op = find<Signature>("derf::pointwise_norm_backward");
  return as_list(call(op, grad_output, o[INPUT], o[ALPHA], optional(o[SHIFT]), optional(o[WEIGHT]), optional(o[BIAS]),
                      channel_dim, name_of(function), weight_offset, study.dead_zone, study.input_shift,
                      study.linear_mix, optional_clip(study), study.output_shift, int64_t(study.sign), as_plain(mask)));
}

template <class Call>
Added add_forward(const Operands& o, const Call& call) {
  using Signature = Added(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&, const OptionalTensor&,
                          const OptionalTensor&, const OptionalTensor&, std::string_view, int64_t, double);
  static const auto op = find<Signature>("derf::add_pointwise_norm");
  return call(op, o[INPUT], o[RESIDUAL], o[ALPHA], optional(o[SHIFT]), optional(o[WEIGHT]), optional(o[BIAS]),
              optional(o[GATE]), name_of(o.options.function), o.options.channel_dim, o.options.weight_offset);
}

template <class Call>
GradientList add_backward(const SumGradients& grads, const Operands& o, Mask mask, const Call& call) {
  using Signature = AddGradients(const Tensor&, const OptionalTensor&, const OptionalTensor&, const Tensor&,
                                 const Tensor&, const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                 const OptionalTensor&, int64_t, std::string_view, double, Mask);
  static const auto op = find<Signature>("derf::add_pointwise_norm_backward");
  auto gradients = call(op, grads.output, optional(grads.sum), optional(o[INPUT]), grads.value, o[ALPHA],
                        optional(o[SHIFT]), optional(o[WEIGHT]), optional(o[BIAS]), optional(o[GATE]),
                        o.options.channel_dim, name_of(o.options.function), o.options.weight_offset, mask);
  return std::apply([](auto&... each) { return GradientList{std::move(each)...}; }, gradients);
}

}  // namespace

Tensor call(const Operands& operands) {
  return forward(operands, [](const auto& op, const auto&... arguments) { return op.call(arguments...); });
}

Tensor redispatch(const Operands& operands, c10::DispatchKeySet keys) {
  return forward(operands, [&](const auto& op, const auto&... arguments) { return op.redispatch(keys, arguments...); });
}

void call_into(const Operands& operands, const Tensor& out) {
  into(operands, out, [](const auto& op, const auto&... arguments) { op.call(arguments...); });
}

void redispatch_into(const Operands& operands, const Tensor& out, c10::DispatchKeySet keys) {
  into(operands, out, [&](const auto& op, const auto&... arguments) { op.redispatch(keys, arguments...); });
}

GradientList call_backward(const Tensor& grad_output, const Operands& operands, Mask mask) {
  return backward(grad_output, operands, mask,
                  [](const auto& op, const auto&... arguments) { return op.call(arguments...); });
}

GradientList redispatch_backward(const Tensor& grad_output, const Operands& operands, Mask mask,
                                 c10::DispatchKeySet keys) {
  return backward(grad_output, operands, mask,
                  [&](const auto& op, const auto&... arguments) { return op.redispatch(keys, arguments...); });
}

Added call_add(const Operands& operands) {
  return add_forward(operands, [](const auto& op, const auto&... arguments) { return op.call(arguments...); });
}

Added redispatch_add(const Operands& operands, c10::DispatchKeySet keys) {
  return add_forward(operands,
                     [&](const auto& op, const auto&... arguments) { return op.redispatch(keys, arguments...); });
}

GradientList call_add_backward(const SumGradients& grads, const Operands& operands, Mask mask) {
  return add_backward(grads, operands, mask,
                      [](const auto& op, const auto&... arguments) { return op.call(arguments...); });
}

GradientList redispatch_add_backward(const SumGradients& grads, const Operands& operands, Mask mask,
                                     c10::DispatchKeySet keys) {
  return add_backward(grads, operands, mask,
                      [&](const auto& op, const auto&... arguments) { return op.redispatch(keys, arguments...); });
}

QuantizedResults redispatch_quantized(const Operands& o, const Quantization& q, c10::DispatchKeySet keys) {
  using Signature = QuantizedResults(const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                                     const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                     const OptionalTensor&, at::ScalarType, bool, std::string_view, int64_t, double);
  static const auto op = find<Signature>("derf::quantized_pointwise_norm");
  return op.redispatch(keys, o[INPUT], q.scale, o[ALPHA], optional(o[SHIFT]), optional(o[WEIGHT]), optional(o[BIAS]),
                       optional(o[RESIDUAL]), optional(o[GATE]), q.dtype, q.unquantized, name_of(o.options.function),
                       o.options.channel_dim, o.options.weight_offset);
}

Tensor derf(const Tensor& input, const Tensor& alpha, const Tensor& shift, const OptionalTensor& weight,
            const OptionalTensor& bias, int64_t channel_dim) {
  return call({plain(input, alpha, shift, given(weight), given(bias)), {.channel_dim = channel_dim}});
}

Gradients derf_backward(const Tensor& grad_output, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                        const OptionalTensor& weight, const OptionalTensor& bias, int64_t channel_dim,
                        std::array<bool, 5> output_mask) {
  return as_tuple(call_backward(grad_output,
                                {plain(input, alpha, shift, given(weight), given(bias)), {.channel_dim = channel_dim}},
                                of_plain(output_mask)));
}

Tensor pointwise_norm(const Tensor& input, const Tensor& alpha, const OptionalTensor& shift,
                      const OptionalTensor& weight, const OptionalTensor& bias, const PointwiseNormCall& o) {
  return call({plain(input, alpha, given(shift), given(weight), given(bias)),
               options(o.function, o.channel_dim, o.weight_offset, o.dead_zone, o.input_shift, o.linear_mix, o.clip,
                       o.output_shift, o.sign)});
}

std::tuple<Tensor, Tensor> add_pointwise_norm(const Tensor& input, const Tensor& residual, const Tensor& alpha,
                                              const OptionalTensor& shift, const OptionalTensor& weight,
                                              const OptionalTensor& bias, const AddPointwiseNormCall& o) {
  return call_add({{&input, &residual, &alpha, &given(shift), &given(weight), &given(bias), &given(o.gate)},
                   add_options(o.function, o.channel_dim, o.weight_offset)});
}

}  // namespace derf

std::string derf::build_info() {
  return "compiled for: torch " TORCH_VERSION " (" DERF_TAG
         ")\n"
         "compiler: " DERF_COMPILER
         "\n"
         "CPU kernels: " +
         c10::Join(", ", cpu_capabilities()) + "; in use: " + cpu_capability() +
         "\n"
         "CUDA kernels: " DERF_CUDA_INFO;
}
