#include "formulas.h"

#include <ATen/ATen.h>
#include <ATen/WrapDimUtils.h>

#include <cmath>

#include "../problem.h"

namespace derf::formulas {
namespace {

using at::Tensor;

// f, its slope and its slope's slope.
Tensor value(const Tensor& u) { return at::erf(u); }
Tensor slope(const Tensor& u) { return at::exp(-(u * u)) * M_2_SQRTPI; }
Tensor slope_of_slope(const Tensor& u, const Tensor& slope) { return u * slope * -2; }

// Far beyond where any function of the family has a slope; infinities become finite, so that no derivative of any order
// is 0 * Inf.
Tensor finite(const Tensor& input) {
  const double large = input.scalar_type() == at::kDouble ? 0x1p900 : 0x1p100;
  return at::where(at::isinf(input), at::sign(input) * large, input);
}
Tensor limited(const Tensor& u) { return at::clamp(u, -1e6, 1e6); }

// The arguments in the dtype of arithmetic, shaped so that they broadcast against input.
struct Arguments {
  at::ScalarType dtype;
  Tensor x, alpha, shift, weight, u;

  Arguments(const Tensor& input, const Tensor& alpha_, const Tensor& shift_, const std::optional<Tensor>& weight_,
            int64_t channel_dim)
      : dtype(input.scalar_type() == at::kDouble ? at::kDouble : at::kFloat),
        x(finite(input.to(dtype))),
        alpha(alpha_.to(dtype).reshape({})),
        shift(shift_.to(dtype).reshape({})),
        u(limited(x * alpha + shift)) {
    if (is_given(weight_)) {
      weight = beside(*weight_, input, channel_dim);
    }
  }

  // weight or bias, viewed beside input.
  Tensor beside(const Tensor& tensor, const Tensor& input, int64_t channel_dim) const {
    const int64_t after = input.dim() - 1 - at::maybe_wrap_dim(channel_dim, input.dim());
    auto sizes = tensor.sym_sizes().vec();
    sizes.insert(sizes.end(), after, 1);
    return tensor.to(dtype).reshape_symint(sizes);
  }

  Tensor times_weight(const Tensor& t) const { return weight.defined() ? t * weight : t; }

  Tensor sum_to_channels(const Tensor& t, const Tensor& like, int64_t channel_dim) const {
    const Tensor view = beside(like, x, channel_dim);
    return t.sum_to_size_symint(view.sym_sizes()).reshape_symint(like.sym_sizes()).to(like.scalar_type());
  }
};

// The sum of all of t, like alpha or shift.
Tensor sum_to_one(const Tensor& t, const Tensor& like) {
  return t.sum().to(like.scalar_type()).reshape_symint(like.sym_sizes());
}

// 0 where the slope is 0, be t infinite.
Tensor where_alive(const Tensor& slope, const Tensor& t) {
  return at::where(slope == 0, at::zeros({}, t.options()), t);
}

void add(Tensor& sum, const Tensor& term) { sum = sum.defined() ? sum + term : term; }

}  // namespace

Tensor forward(const Tensor& input, const Tensor& alpha, const Tensor& shift, const std::optional<Tensor>& weight,
               const std::optional<Tensor>& bias, int64_t channel_dim) {
  check(input, alpha, shift, weight, bias, channel_dim);
  const Arguments a(input, alpha, shift, weight, channel_dim);
  Tensor y = a.times_weight(value(a.u));
  if (is_given(bias)) {
    y = y + a.beside(*bias, input, channel_dim);
  }
  return y.to(input.scalar_type());
}

Gradients backward(const Tensor& grad_output, const Tensor& input, const Tensor& alpha, const Tensor& shift,
                   const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, int64_t channel_dim,
                   std::array<bool, 5> output_mask) {
  check(input, alpha, shift, weight, bias, channel_dim);
  check_grad_output(grad_output, input);
  const Arguments a(input, alpha, shift, weight, channel_dim);
  const Tensor g = grad_output.to(a.dtype);
  Tensor grad_input, grad_alpha, grad_shift, grad_weight, grad_bias;
  if (output_mask[0] || output_mask[1] || output_mask[2]) {
    const Tensor f = slope(a.u);
    const Tensor h = a.times_weight(where_alive(f, g) * f);
    if (output_mask[0]) {
      grad_input = (h * a.alpha).to(input.scalar_type());
    }
    if (output_mask[1]) {
      grad_alpha = sum_to_one(h * a.x, alpha);
    }
    if (output_mask[2]) {
      grad_shift = sum_to_one(h, shift);
    }
  }
  if (output_mask[3] && is_given(weight)) {
    grad_weight = a.sum_to_channels(g * value(a.u), *weight, channel_dim);
  }
  if (output_mask[4] && is_given(bias)) {
    grad_bias = a.sum_to_channels(g, *bias, channel_dim);
  }
  return {grad_input, grad_alpha, grad_shift, grad_weight, grad_bias};
}

// With h = g weight f'(u), backward's results are alpha h, sum h x, sum h, sum g f(u), sum g. P below is the gradient
// of the scalar sum of grads times results with respect to h.
Gradients double_backward(at::ArrayRef<Tensor> grads, const Tensor& grad_output, const Tensor& input,
                          const Tensor& alpha, const Tensor& shift, const std::optional<Tensor>& weight,
                          int64_t channel_dim) {
  const Arguments a(input, alpha, shift, weight, channel_dim);
  const Tensor f = slope(a.u), g = grad_output.to(a.dtype), h = a.times_weight(g * f);
  const Tensor &to_input = grads[0], &to_alpha = grads[1], &to_shift = grads[2], &to_weight = grads[3],
               &to_bias = grads[4];
  Tensor p, grad_g, grad_u, grad_x, grad_alpha, grad_shift, grad_weight;
  if (to_input.defined()) {
    add(p, to_input.to(a.dtype) * a.alpha);
    grad_alpha = (h * to_input.to(a.dtype)).sum();
  }
  if (to_alpha.defined()) {
    add(p, a.x * to_alpha.to(a.dtype).reshape({}));
    grad_x = h * to_alpha.to(a.dtype).reshape({});
  }
  if (to_shift.defined()) {
    add(p, to_shift.to(a.dtype).reshape({}).expand_as(a.x));
  }
  if (p.defined()) {
    add(grad_g, a.times_weight(f) * p);
    add(grad_u, a.times_weight(g * slope_of_slope(a.u, f)) * p);
    if (a.weight.defined()) {
      grad_weight = a.sum_to_channels(g * f * p, *weight, channel_dim);
    }
  }
  if (to_weight.defined()) {
    const Tensor t = a.beside(to_weight, input, channel_dim);
    add(grad_g, value(a.u) * t);
    add(grad_u, g * f * t);
  }
  if (to_bias.defined()) {
    add(grad_g, a.beside(to_bias, input, channel_dim).expand_as(g));
  }
  if (grad_u.defined()) {
    add(grad_x, grad_u * a.alpha);
    add(grad_alpha, (grad_u * a.x).sum());
    grad_shift = sum_to_one(grad_u, shift);
  }
  return {grad_g.defined() ? grad_g.to(grad_output.scalar_type()) : grad_g,
          grad_x.defined() ? grad_x.to(input.scalar_type()) : grad_x,
          grad_alpha.defined() ? sum_to_one(grad_alpha, alpha) : grad_alpha, grad_shift, grad_weight};
}

}  // namespace derf::formulas
