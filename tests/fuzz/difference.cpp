// The results of a call beside what its definition says, element by element: plain loops in double (for float64 in long
// double), which share nothing with the library.
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e5m2.h>

#include <cstdio>
#include <sstream>

#include "applied.h"

namespace fuzz {
namespace {

// How much was compared with what: said where the process ends.
struct Compared {
  int64_t elements = 0, narrowly = 0, with_anything = 0;

  template <class Real>
  void add(const Range<Real>& r, double largest) {
    const Real low = std::clamp<Real>(r.low, -largest, largest), high = std::clamp<Real>(r.high, -largest, largest);
    ++elements;
    // NaN alone, or numbers that differ by a hundredth (below 0.001: by as much as there).
    const Real size = std::max<Real>({std::fabs(low), std::fabs(high), 0.001});
    narrowly += !r.number || (!r.nan && high - low <= size / 100);
    with_anything += r.number && r.nan && std::isinf(r.low) && std::isinf(r.high);
  }
  ~Compared() {
    std::fprintf(stderr, "%lld elements compared, %lld of them with a narrow range, %lld with everything\n",
                 (long long)elements, (long long)narrowly, (long long)with_anything);
  }
} compared;

const Precision& precision_of(at::ScalarType t) {
  return t == at::kDouble ? float64 : t == at::kFloat ? float32 : t == at::kHalf ? float16 : bfloat16;
}

Tolerance of_kernels(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return {0x1p-49, 0, 0x1p-49, 0x1p-45};
    case at::kFloat: return {0x1p-20, 0, 0x1p-20, 0x1p-18};
    case at::kHalf: return {0x1p-16, 0, 0x1p-13, 0x1p-13};
    default: return {0x1p-13, 0, 0x1p-13, 0x1p-13};
  }
}

// A composite is of ATen's own erf, exp, ..., some of which are exact in absolute terms alone, and of kernels.
Tolerance tolerance_of(const Call& c, at::ScalarType dtype) {
  Tolerance t = of_kernels(dtype);
  if (c.composite || c.is_function()) {
    const bool wide = dtype == at::kDouble;
    t.value_absolute = wide ? 0x1p-44 : 0x1p-18;
    t.value = std::max(t.value, t.value_absolute);
    t.value_in_backward = std::max(t.value_in_backward, t.value_absolute);
    t.slope = std::max(t.slope, wide ? 0x1p-40 : 0x1p-14);
  }
  return t;
}

std::vector<double> numbers(const Tensor& t) {
  if (!t.defined()) {
    return {};
  }
  const Tensor flat = t.detach().to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

// An argument, number by number; `index` has which of its elements belongs to an element of input, where they are not
// one to one.
struct Argument {
  std::vector<double> values;
  std::vector<int64_t> index;
  bool is_there = false;

  int64_t at(int64_t e) const { return index.empty() ? e : index[e]; }
  double get(int64_t e, double otherwise = 0) const { return is_there ? values[at(e)] : otherwise; }
};

template <class Real>
class Reference {
  using R = Range<Real>;
  const Call& c_;
  const Tensor like_;
  const at::ScalarType dtype_;
  const Precision& p_;
  const int64_t channel_;
  const Argument input_, residual_, alpha_, shift_, weight_, bias_, gate_, grad_output_, grad_sum_, scale_;

  Argument argument(const char* name, bool is_parameter = true) const {
    Tensor t = c_.tensor(name);
    if (!t.defined()) {
      return {};
    }
    return {numbers(t), is_parameter ? index(t) : std::vector<int64_t>(), true};
  }

  // A parameter ends with dimension `channel_` of input, or has one element, or (a gate) all dimensions.
  std::vector<int64_t> index(const Tensor& t) const {
    const auto sizes = like_.sizes();
    const int64_t dims = int64_t(sizes.size()), numel = like_.numel();
    std::vector<int64_t> found(std::max<int64_t>(numel, 1), 0);
    if (t.numel() == 1) {
      return found;
    }
    const int64_t first = t.dim() == dims ? 0 : channel_ + 1 - t.dim();
    std::vector<int64_t> at(dims, 0);
    for (int64_t e = 0; e < numel; ++e) {
      for (int64_t i = 0; i < t.dim(); ++i) {
        found[e] = found[e] * t.size(i) + (t.size(i) == 1 ? 0 : at[first + i]);
      }
      for (int64_t i = dims - 1; i >= 0 && ++at[i] == sizes[i]; --i) {
        at[i] = 0;
      }
    }
    return found;
  }

  R weight(int64_t e) const {
    const R w(weight_.get(e, 1));
    return c_.weight_offset == 0 ? w : (w + R(c_.weight_offset)).rounded(p_);
  }
  R preactivation(int64_t e, Real x) const {
    if (c_.is_function()) {
      return R(x);
    }
    const R product = (R(alpha_.get(e)).rounded(p_) * R(x)).rounded(p_);
    return shift_.is_there ? (product + R(shift_.get(e)).rounded(p_)).rounded(p_, 2) : product.rounded(p_);
  }

  std::string compare(const std::string& name, const Tensor& found, const std::vector<R>& expected) const {
    const Precision& p = precision_of(found.scalar_type());
    const auto x = numbers(found);
    for (size_t i = 0; i < x.size(); ++i) {
      const R r = expected[i].rounded(p, 1.01);
      compared.add(r, p.largest);
      if (x[i] == x[i] ? !r.has(x[i]) : !r.nan) {
        std::ostringstream text;
        text.precision(20);
        text << name << "[" << i << "] is " << x[i] << ", not in [" << double(r.low) << ", " << double(r.high) << "]"
             << (r.number ? "" : ", no number") << (r.nan ? ", or NaN" : "");
        return text.str();
      }
    }
    return "";
  }

  template <class Float8>
  std::string compare_float8(const Tensor& found, const std::vector<R>& expected, double largest) const {
    const auto x = numbers(found);
    const auto nearest = [&](Real y) { return double(float(Float8(float(std::clamp<Real>(y, -largest, largest))))); };
    for (size_t i = 0; i < x.size(); ++i) {
      const R& r = expected[i];
      compared.add(r, largest);
      if (x[i] == x[i] ? !(r.number && nearest(r.low) <= x[i] && x[i] <= nearest(r.high)) : !r.nan) {
        return c10::str("quantized[", i, "] is ", x[i], ", not in [", double(r.low), ", ", double(r.high), "]");
      }
    }
    return "";
  }

  std::string compare_quantized(const Tensor& found, const std::vector<R>& expected) const {
    if (found.scalar_type() != at::kChar) {
      return found.scalar_type() == at::kFloat8_e4m3fn ? compare_float8<c10::Float8_e4m3fn>(found, expected, 448)
                                                       : compare_float8<c10::Float8_e5m2>(found, expected, 57344);
    }
    const auto x = numbers(found);
    const auto nearest = [](Real y) { return std::nearbyint(std::clamp<Real>(y, -128, 127)); };
    for (size_t i = 0; i < x.size(); ++i) {
      const R& r = expected[i];
      compared.add(r, 127);
      if (!(r.nan && x[i] == 0) && !(r.number && nearest(r.low) <= x[i] && x[i] <= nearest(r.high))) {
        return c10::str("quantized[", i, "] is ", x[i], ", not in [", double(r.low), ", ", double(r.high), "]");
      }
    }
    return "";
  }

  std::string compare_sums(const std::map<std::string, Tensor>& results) const {
    const auto found = results.find("sum");
    if (found == results.end()) {
      return "";
    }
    std::vector<R> expected;
    for (int64_t e = 0; e < like_.numel(); ++e) {
      const R product = (R(gate_.get(e, 1)) * R(input_.get(e))).rounded(p_);
      expected.push_back((product + R(residual_.get(e))).rounded(p_));
    }
    return compare("sum", found->second, expected);
  }

  std::string compare_outputs(const std::map<std::string, Tensor>& results, const Studied<Real>& f,
                              const std::vector<double>& x) const {
    std::vector<R> outputs, scaled;
    for (int64_t e = 0; e < like_.numel(); ++e) {
      R y = f.at(preactivation(e, x[e])).value;
      if (c_.is_function()) {
        y = c_.order == 0 ? y : f.at(preactivation(e, x[e])).slope;
      } else {
        y = weight_.is_there ? (y * weight(e)).rounded(p_) : y;
        y = bias_.is_there ? (y + R(bias_.get(e))).rounded(p_) : y;
      }
      outputs.push_back(y);
      if (c_.is_quantized()) {
        scaled.push_back((y * R(1 / Real(scale_.get(e))).rounded(p_)).rounded(p_, 2).rounded(float32));
      }
    }
    if (const auto found = results.find("output"); found != results.end() && c_.order < 2) {
      if (const auto wrong = compare("output", found->second, outputs); !wrong.empty()) {
        return wrong;
      }
    }
    const auto found = results.find("quantized");
    return found == results.end() ? "" : compare_quantized(found->second, scaled);
  }

  std::string compare_gradients(const std::map<std::string, Tensor>& results, const Studied<Real>& f,
                                const std::vector<double>& x) const {
    std::map<std::string, std::vector<R>> elements;
    struct Sums {
      const char* name;
      const Argument& of;
      std::vector<Sum<Real>> all;
    };
    Sums sums[] = {{"alpha", alpha_, {}},
                   {"shift", shift_, {}},
                   {"weight", weight_, {}},
                   {"bias", bias_, {}},
                   {"gate", gate_, {}}};
    for (Sums& each : sums) {
      each.all.resize(results.contains(each.name) ? results.at(each.name).numel() : 0);
    }
    const bool adds = c_.is("add_pointwise_norm") || c_.is_add_backward();
    for (int64_t e = 0; e < like_.numel(); ++e) {
      const R g(grad_output_.get(e));
      const Applied<Real> y = f.at(preactivation(e, x[e]));
      const bool dead = y.slope.number && !y.slope.nan && y.slope.low == 0 && y.slope.high == 0;
      const auto alive = [&](const R& r) { return dead ? R(0) : y.slope.has(0) ? r.or_zero().or_nan(r.nan) : r; };
      const R h = alive(((weight_.is_there ? (g * weight(e)).rounded(p_) : g) * y.slope).rounded(p_, 2));
      const R of_x = alive((h * R(alpha_.get(e))).rounded(p_, 2));
      const R grad = grad_sum_.is_there ? (of_x + R(grad_sum_.get(e))).rounded(p_) : of_x;
      elements["residual"].push_back(grad);
      elements["input"].push_back(adds && gate_.is_there ? (grad * R(gate_.get(e))).rounded(p_) : grad);
      const R terms[] = {c_.composite && std::isinf(x[e]) ? R::anything() : alive((h * R(x[e])).rounded(p_, 2)), h,
                         (g * y.value_in_backward).rounded(p_), g, (grad * R(input_.get(e))).rounded(p_)};
      for (size_t i = 0; i < std::size(sums); ++i) {
        if (!sums[i].all.empty()) {
          sums[i].all[sums[i].of.at(e)].add(terms[i]);
        }
      }
    }
    for (const Sums& each : sums) {
      for (const Sum<Real>& sum : each.all) {
        elements[each.name].push_back(sum.result(p_));
      }
    }
    for (const auto& [name, expected] : elements) {
      if (results.contains(name)) {
        if (const auto wrong = compare("the gradient of " + name, results.at(name), expected); !wrong.empty()) {
          return wrong;
        }
      }
    }
    return "";
  }

 public:
  explicit Reference(const Call& c)
      : c_(c),
        like_(c.like()),
        dtype_(c.tensor(c.is_function()   ? "u"
                        : c.is_backward() ? "grad_output"
                                          : "input")
                   .scalar_type()),
        p_(precision_of(dtype_ == at::kDouble ? at::kDouble : at::kFloat)),
        channel_(like_.dim() == 0 || c.is_function() ? -1 : (c.channel_dim + like_.dim()) % like_.dim()),
        input_(argument("input", false)),
        residual_(argument("residual", false)),
        alpha_(argument("alpha")),
        shift_(argument("shift")),
        weight_(argument("weight")),
        bias_(argument("bias")),
        gate_(argument("gate")),
        grad_output_(argument("grad_output", false)),
        grad_sum_(argument("grad_sum", false)),
        scale_(argument("scale")) {}

  std::string wrong(const std::map<std::string, Tensor>& results) const {
    const Tolerance tolerance = tolerance_of(c_, dtype_);
    const Studied<Real> f(c_, *function_named<Real>(c_.function), p_, tolerance);
    if (const auto wrong = compare_sums(results); !wrong.empty()) {
      return wrong;
    }
    // What the function is applied to is the sum as it was rounded.
    const Tensor sum = results.contains("sum") ? results.at("sum") : c_.tensor("sum");
    const auto x = numbers(sum.defined() ? sum : like_);
    if (!c_.is_backward()) {
      if (const auto wrong = compare_outputs(results, f, x); !wrong.empty()) {
        return wrong;
      }
    }
    return c_.is_backward() || c_.through_autograd ? compare_gradients(results, f, x) : "";
  }
};

// Which results there are, their shapes, dtypes and strides.
std::string wrong_form(const Call& c, const std::map<std::string, Tensor>& results) {
  const Tensor like = c.like(), input = c.tensor("input");
  const auto dtype =
      c.is_function() ? like.scalar_type() : c.tensor(c.is_backward() ? "grad_output" : "input").scalar_type();
  const std::vector<std::string> operands =
      c.is_add_backward() ? std::vector<std::string>{"input", "residual", "alpha", "shift", "weight", "bias", "gate"}
                          : std::vector<std::string>{"input", "alpha", "shift", "weight", "bias"};
  if (c.is_backward()) {
    for (size_t i = 0; i < operands.size(); ++i) {
      const bool there = c.tensors.contains(operands[i]) || operands[i] == "input" || operands[i] == "residual";
      if (results.contains(operands[i]) != (c.output_mask[i] && there)) {
        return "the gradient of " + operands[i] + (c.output_mask[i] && there ? " is missing" : " was not asked for");
      }
    }
  }
  if (c.is_quantized() &&
      (results.contains("output") != c.unquantized || results.contains("sum") != c.tensors.contains("residual"))) {
    return "output or sum is there where it is not wanted, or missing";
  }
  for (const auto& [name, result] : results) {
    const bool parameter = name == "alpha" || name == "shift" || name == "weight" || name == "bias" || name == "gate";
    const Tensor residual = c.tensor(c.is_add_backward() ? "sum" : "residual");
    const Tensor beside = parameter ? c.tensor(name) : like;
    const auto expected = parameter                             ? beside.scalar_type()
                          : name == "quantized"                 ? c.dtype
                          : name == "sum" || name == "residual" ? residual.scalar_type()
                                                                : dtype;
    if (result.sizes() != beside.sizes() || result.scalar_type() != expected) {
      return c10::str(name, " has shape ", result.sizes(), " and dtype ", result.scalar_type(), ", not ",
                      beside.sizes(), " and ", expected);
    }
    if (!parameter && !c.composite && !c.writes() && !c.through_autograd && !c.is_function()) {
      const Tensor fresh = at::empty_like(like);
      for (int64_t i = 0; i < like.dim(); ++i) {
        if (like.numel() != 0 && like.size(i) != 1 && result.stride(i) != fresh.stride(i)) {
          return c10::str(name, " has strides ", result.strides(), ", not ", fresh.strides());
        }
      }
    }
  }
  return "";
}

}  // namespace

std::string difference(const Call& c, const std::map<std::string, Tensor>& results) {
  if (auto wrong = wrong_form(c, results); !wrong.empty() || is_huge(c)) {
    return wrong;
  }
  return c.tensor(c.is_function()   ? "u"
                  : c.is_backward() ? "grad_output"
                                    : "input")
                     .scalar_type() == at::kDouble
             ? Reference<long double>(c).wrong(results)
             : Reference<double>(c).wrong(results);
}

std::string shown(const Call& c) {
  std::ostringstream text;
  text << c.op->schema().operator_name() << (c.through_autograd ? " through autograd" : "") << "\n";
  for (const auto& [name, t] : c.tensors) {
    text << "  " << name << ": " << t.scalar_type() << " " << t.sizes();
    if (t.layout() == at::kStrided) {
      text << " strides " << t.strides() << " offset " << t.storage_offset();
      if (t.is_cpu() && t.numel() > 0 && t.numel() < 9) {
        for (const double x : numbers(t)) {
          text << " " << x;
        }
      }
    }
    text << "\n";
  }
  text << "  function " << c.function << ", channel_dim " << c.channel_dim << ", weight_offset " << c.weight_offset
       << ", dead_zone " << c.dead_zone << ", input_shift " << c.input_shift << ", linear_mix " << c.linear_mix
       << ", clip " << c.clip.value_or(0) << ", output_shift " << c.output_shift << ", sign " << c.sign << ", order "
       << c.order << ", dtype " << c.dtype << ", output_mask";
  for (const bool wanted : c.output_mask) {
    text << " " << wanted;
  }
  return text.str();
}

}  // namespace fuzz
