// The operations of world.h on tensors: PyTorch's own, so they run on every device and under every transform. Constants
// are scalars: a tensor of float32 stays one.
#pragma once
#include <ATen/ATen.h>

#include <cfloat>

namespace derf::composite {

using at::Scalar;
using at::Tensor;

// A Scalar but for what ATen would compute in place, which no decomposition may: Scalar - Tensor, Scalar / Tensor.
struct Number {
  double value;
  operator Scalar() const { return value; }
};
inline Tensor operator-(const Number& x, const Tensor& y) { return at::rsub(y, x.value); }

template <class V>
Number number(double x) {
  return {x};
}

inline Tensor magnitude(const Tensor& u) { return u.abs(); }
// a is 0 where `sign` is: every function with a sign of its own is 0 at 0.
inline Tensor with_sign_of(const Tensor& a, const Tensor& sign) {
  return at::where(sign == 0, sign, at::where(sign < 0, a.neg(), a));
}
template <class Y, class Z>
Tensor fmadd(const Tensor& x, const Y& y, const Z& z) {
  return x * y + z;
}
inline Tensor at_most(const Tensor& x, const Scalar& limit) { return x.clamp_max(limit); }

inline Tensor is_greater(const Tensor& a, const Scalar& b) { return a > b; }
inline Tensor is_greater(const Scalar& a, const Tensor& b) { return b < a; }
template <class A, class B, class X, class Y>
Tensor select_greater(const A& a, const B& b, const X& x, const Y& y) {
  return at::where(is_greater(a, b), x, y);
}
template <class X>
Tensor select_infinite(const Tensor& a, const X& x, const Tensor& y) {
  return at::where(at::isinf(a), x, y);
}
inline Tensor zero_where_zero(const Tensor& x, const Tensor& a) { return at::where(a == 0, 0, x); }

inline Tensor square_root(const Tensor& a) { return a.sqrt(); }
using at::divide;
inline Tensor divide(const Number& x, const Tensor& y) { return at::reciprocal(y) * x.value; }

inline Tensor rough_reciprocal(const Tensor& a) { return a.reciprocal(); }
inline Tensor divide_by_small(const Tensor& x, const Tensor& a) { return x / a; }

inline Tensor exp_minus(const Tensor& a) { return at::exp(-a); }
inline Tensor one_minus_exp_minus(const Tensor& a) { return -at::expm1(-a); }
inline Tensor times_exp_minus(const Tensor& x, const Tensor& a) {
  const Tensor root = at::exp(a * -0.5);  // is normal where its square is not
  return at::where(a > 80, x * root * root, x * at::exp(-a));
}
using at::arcsinh;
using at::log1p;
inline Tensor arcsinh_to_one(const Tensor& a) { return at::arcsinh(a); }
inline Tensor inverse_cube_root(const Tensor& a) {
  const Tensor y = at::pow(a, -1. / 3);  // the exponent is rounded, and a step makes up for it
  return zero_where_zero(y + y * (number<Tensor>(1) - a * y * y * y) * (1. / 3), a);
}
inline Tensor scaled_arctangent(const Tensor& a) { return at::atan(a) * 0.636619772367581343; }
inline Tensor quarter_sine(const Tensor& a) { return at::sin(a); }
inline Tensor quarter_cosine(const Tensor& a) {
  constexpr double half_pi = 1.570796326794896619;
  return at::where(a > half_pi, 0, at::cos(a.clamp_max(half_pi)).clamp_min(0));  // pi/2 rounded may be past pi/2
}
inline Tensor sine(const Tensor& u) { return at::sin(u); }
inline Tensor cosine(const Tensor& u) { return at::cos(u); }

// For second derivatives, which are 0 where they would be infinite or do not exist.
inline Tensor finite(const Tensor& u) {
  const double largest = u.scalar_type() == at::kDouble ? DBL_MAX : FLT_MAX;
  return u.clamp(-largest, largest);
}
inline Tensor nan_or_zero(const Tensor& u) { return u.clamp(-1, 1) * 0; }
inline Tensor zero_where_infinite(const Tensor& x, const Tensor& a) {
  return at::where(at::isinf(x).logical_or(a == 0), 0, x);
}

}  // namespace derf::composite
