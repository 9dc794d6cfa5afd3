#include "composite.h"

#include <ATen/ATen.h>

#include <cmath>

namespace derf::composite {
namespace {

// Infinities become finite where they are multiplied by a slope, which may be 0.
Tensor finite(const Tensor& x) {
  const double large = x.scalar_type() == at::kDouble ? 0x1p1000 : 0x1p120;
  return at::where(at::isinf(x), at::sign(x) * large, x);
}

// alpha x + shift. Where x is infinite it is constant, or ATen's derivatives would be 0 * Inf.
Tensor preactivation(const Tensor& x, const Tensor& alpha, const Tensor& shift) {
  const Tensor u = finite(x) * alpha;
  const Tensor product = at::where(at::isinf(x), (x * alpha).detach(), u);
  return shift.defined() ? product + shift : product;
}

void add(Tensor& sum, const Tensor& term) { sum = sum.defined() ? sum + term : term; }

// The function with the studies around it, and its derivatives.
struct Studied {
  Function f;
  const Study& study;
  Tensor u, before;  // before f

  Studied(Function f_, const Study& study_, const Tensor& u_) : f(f_), study(study_), u(u_), before(u_) {
    if (study.dead_zone != 0) {
      const Tensor beyond = at::abs(u) - study.dead_zone;
      before = at::where(beyond < 0, u * 0, at::where(u < 0, -beyond, beyond));
    }
    if (study.input_shift != 0) {
      before = before + study.input_shift;
    }
  }

  Tensor mixed() const {
    const Tensor v = function(f, before, 0);
    return study.linear_mix == 0 ? v : v * (1 - study.linear_mix) + u * study.linear_mix;
  }

  Tensor value() const {
    Tensor v = mixed();
    if (std::isfinite(study.clip)) {
      v = at::clamp(v, -study.clip, study.clip);
    }
    if (study.output_shift != 0) {
      v = v + study.output_shift;
    }
    return study.sign == 1 ? v : -v;
  }

  // The derivative of the given order, 1 or 2. What cuts off is constant almost everywhere.
  Tensor derivative(int64_t order) const {
    Tensor slope = function(f, before, order);
    if (study.dead_zone != 0) {
      slope = at::where(at::abs(u) < study.dead_zone, slope * 0, slope);
    }
    if (study.linear_mix != 0) {
      slope = slope * (1 - study.linear_mix);
      slope = order == 1 ? slope + study.linear_mix : slope;
    }
    if (std::isfinite(study.clip)) {
      slope = at::where(at::abs(mixed()) > study.clip, at::zeros({}, slope.options()), slope);
    }
    return study.sign == 1 ? slope : -slope;
  }
};

// The operands in the dtype of arithmetic, shaped so that they broadcast against input.
struct Wide {
  const Operands& operands;
  at::ScalarType dtype;
  Tensor x, alpha, shift, weight, bias;
  Studied f;

  explicit Wide(const Operands& o)
      : operands(o),
        dtype(o.input().scalar_type() == at::kDouble ? at::kDouble : at::kFloat),
        x(o.input().to(dtype)),
        alpha(beside(ALPHA)),
        shift(beside(SHIFT)),
        weight(beside(WEIGHT)),
        bias(beside(BIAS)),
        f(o.options.function, o.options.study, preactivation(x, alpha, shift)) {
    if (weight.defined() && o.options.weight_offset != 0) {
      weight = weight + o.options.weight_offset;
    }
    x = finite(x);
  }

  bool is_one(size_t index) const {
    return operand_table[index].role == Role::scalar && !is_per_channel(operands[index]);
  }

  Tensor beside(size_t index) const { return beside(index, operands[index]); }

  // What has the shape of an operand, viewed beside input.
  Tensor beside(size_t index, const Tensor& tensor) const {
    if (!tensor.defined()) {
      return tensor;
    }
    const Tensor t = tensor.to(dtype);
    return is_one(index) ? t.reshape({})
                         : unsqueeze_to_channels(t, operands.input().dim(), operands.options.channel_dim);
  }

  Tensor times_weight(const Tensor& t) const { return weight.defined() ? t * weight : t; }

  // The sum of t over all that shares an element of the operand, of the operand's shape and dtype.
  Tensor sum_to(size_t index, const Tensor& t) const {
    const Tensor& like = operands[index];
    const Tensor sum = is_one(index) ? t.sum() : t.sum_to_size_symint(beside(index).sym_sizes());
    return sum.reshape_symint(like.sym_sizes()).to(like.scalar_type());
  }
};

}  // namespace

Tensor zero_where_flat(const Tensor& slope, const Tensor& t) {
  return at::where(slope == 0, at::zeros({}, t.options()), t);
}

Tensor forward(const Operands& operands) {
  check(operands);
  const Wide w(operands);
  Tensor y = w.times_weight(w.f.value());
  if (w.bias.defined()) {
    y = y + w.bias;
  }
  return y.to(operands.input().scalar_type());
}

Tensor bias_gradient(const Tensor& grad_output, const Tensor& bias, int64_t channel_dim) {
  const Tensor g = grad_output.to(grad_output.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const Tensor sum = g.sum_to_size_symint(unsqueeze_to_channels(bias, g.dim(), channel_dim).sym_sizes());
  return sum.reshape_symint(bias.sym_sizes()).to(bias.scalar_type());
}

GradientList backward(const Tensor& grad_output, const Operands& operands, Mask mask) {
  check(operands);
  check_grad_output(grad_output, operands.input());
  const Wide w(operands);
  const Tensor g = grad_output.to(w.dtype);
  GradientList gradients;
  if (mask[INPUT] || mask[ALPHA] || mask[SHIFT]) {
    const Tensor slope = w.f.derivative(1);
    const Tensor h = zero_where_flat(slope, w.times_weight(g) * slope);
    if (mask[INPUT]) {
      gradients[INPUT] = zero_where_flat(slope, h * w.alpha).to(operands.input().scalar_type());
    }
    if (mask[ALPHA]) {
      gradients[ALPHA] = w.sum_to(ALPHA, zero_where_flat(slope, h * w.x));
    }
    if (mask[SHIFT] && w.shift.defined()) {
      gradients[SHIFT] = w.sum_to(SHIFT, h);
    }
  }
  if (mask[WEIGHT] && w.weight.defined()) {
    gradients[WEIGHT] = w.sum_to(WEIGHT, g * w.f.value());
  }
  if (mask[BIAS] && w.bias.defined()) {
    gradients[BIAS] = w.sum_to(BIAS, g);
  }
  return gradients;
}

// With h = g weight f'(u), backward's results are alpha h, sum h x, sum h, sum g f(u), sum g. P below is the gradient
// of the scalar sum of grads times results with respect to h. What is multiplied by a derivative of f counts only where
// that is not 0.
std::pair<Tensor, GradientList> double_backward(at::ArrayRef<Tensor> grads, const Tensor& grad_output,
                                                const Operands& operands) {
  const Wide w(operands);
  const Tensor slope = w.f.derivative(1), g = grad_output.to(w.dtype);
  const Tensor weighted_slope = zero_where_flat(slope, w.times_weight(slope));
  const Tensor h = zero_where_flat(slope, g * weighted_slope);
  const auto beside = [&](size_t index) { return w.beside(index, grads[index]); };
  const Tensor to_alpha = beside(ALPHA), to_shift = beside(SHIFT), to_weight = beside(WEIGHT), to_bias = beside(BIAS);
  Tensor p, grad_g, grad_u, grad_x, grad_alpha;
  GradientList out;
  if (grads[INPUT].defined()) {
    const Tensor to_input = grads[INPUT].to(w.dtype);
    add(p, to_input * w.alpha);
    grad_alpha = zero_where_flat(slope, h * to_input);
  }
  if (to_alpha.defined()) {
    add(p, w.x * to_alpha);
    grad_x = zero_where_flat(slope, h * to_alpha);
  }
  if (to_shift.defined()) {
    add(p, to_shift.expand_as(w.x));
  }
  if (p.defined()) {
    const Tensor curvature = w.f.derivative(2);
    add(grad_g, zero_where_flat(slope, weighted_slope * p));
    add(grad_u, zero_where_flat(curvature, w.times_weight(g) * curvature * p));
    if (w.weight.defined()) {
      out[WEIGHT] = w.sum_to(WEIGHT, zero_where_flat(slope, g * slope * p));
    }
  }
  if (to_weight.defined()) {
    add(grad_g, w.f.value() * to_weight);
    add(grad_u, zero_where_flat(slope, g * slope * to_weight));
  }
  if (to_bias.defined()) {
    add(grad_g, to_bias.expand_as(g));
  }
  if (grad_u.defined()) {
    add(grad_x, zero_where_flat(grad_u, grad_u * w.alpha));
    add(grad_alpha, zero_where_flat(grad_u, grad_u * w.x));
    if (w.shift.defined()) {
      out[SHIFT] = w.sum_to(SHIFT, grad_u);
    }
  }
  if (grad_x.defined()) {
    out[INPUT] = grad_x.to(operands.input().scalar_type());
  }
  if (grad_alpha.defined()) {
    out[ALPHA] = w.sum_to(ALPHA, grad_alpha);
  }
  return {grad_g.defined() ? grad_g.to(grad_output.scalar_type()) : grad_g, std::move(out)};
}

}  // namespace derf::composite
