// f with the paper's studies around it, its value and its slope, over an interval of u.
#pragma once
#include "call.h"
#include "functions.h"
#include "range.h"

namespace fuzz {

// What approximations may err by; tests/tolerance.py has where each is from. Here they are up to twice as wide: what is
// looked for are wrong elements, not a last bit.
struct Tolerance {
  double value;              // of the forward, relative
  double value_absolute;     // the same, absolute
  double value_in_backward;  // absolute
  double slope;              // relative from 2^-20 on, else the same as there
};

template <class Real>
struct Applied {
  Range<Real> value, value_in_backward, slope;
};

template <class Real>
class Studied {
  using R = Range<Real>;
  const Call& c_;
  const Function<Real>& f_;
  const Precision& p_;
  const Tolerance& t_;

  bool monotone() const { return c_.function != "sin" && c_.function != "dampx" && c_.function != "dampexp"; }
  bool has_pole() const { return c_.function.starts_with("power23") || c_.function == "exproot"; }

  // An increasing function of an interval.
  template <class F>
  static R increasing(const R& u, const F& f) {
    R r = u;
    r.low = f(u.low);
    r.high = f(u.high);
    return r;
  }

  R before(const R& u) const {
    R v = u;
    if (c_.dead_zone != 0) {
      const Real d(c_.dead_zone);
      v = increasing(u, [&](Real x) { return x > d ? x - d : x < -d ? x + d : 0; }).widened(p_.unit * d).rounded(p_);
    }
    return c_.input_shift == 0 ? v : (v + R(c_.input_shift)).rounded(p_, 2);
  }

  // f on an interval: by its ends, and what it may do between them.
  std::pair<R, R> function(const R& u) const {
    const auto low = evaluate(f_, u.low), high = evaluate(f_, u.high);
    if (u.low == u.high && std::isinf(u.low)) {
      return {R(low.value).or_nan(u.nan), R(low.slope).or_nan(u.nan)};
    }
    const Real width = u.high - u.low;
    const bool wide = !(width < 1e-4);
    R value(std::min(low.value, high.value), std::max(low.value, high.value));
    R slope(std::min(low.slope, high.slope), std::max(low.slope, high.slope));
    if (u.has(0)) {  // where the slope of some has an edge
      const Real edge = evaluate(f_, Real(0)).slope;
      slope = R(std::min(slope.low, edge), std::max(slope.high, edge));
    }
    if (wide) {
      slope = R(std::min<Real>(slope.low, -1.2), std::max<Real>(slope.high, 3));
    } else {
      slope = slope.widened(width * width);
    }
    if (!monotone()) {
      value = wide ? R(-1.0001, 1.0001) : value.widened(width * width);
      value.nan = c_.function == "sin" && std::isinf(std::max(std::fabs(u.low), std::fabs(u.high)));
      slope.nan = value.nan;
    }
    if (has_pole() && u.has(0) && width > 0) {
      slope.high = R::inf;
      slope.low = 0;
    }
    value.nan |= u.nan;
    slope.nan |= u.nan;
    return {value, slope};
  }

  R finished(R v) const {
    if (c_.clip && !std::isinf(*c_.clip)) {
      const Real limit(*c_.clip);
      v = increasing(v, [&](Real x) { return std::clamp(x, -limit, limit); }).rounded(p_);
    }
    if (c_.output_shift != 0) {
      v = (v + R(c_.output_shift)).rounded(p_, 2);
    }
    return c_.sign == 1 ? v : -v;
  }

  R mixed(const R& v, const R& u) const {
    const Real m(c_.linear_mix);
    return m == 0 ? v : (v * R(1 - m) + u * R(m)).rounded(p_, 4);
  }

 public:
  Studied(const Call& c, const Function<Real>& f, const Precision& p, const Tolerance& t)
      : c_(c), f_(f), p_(p), t_(t) {}

  Applied<Real> at(const R& u) const {
    if (!u.number) {
      return {u, u, u};
    }
    const std::pair<R, R> of_f = function(before(u));
    const R &v = of_f.first, &s = of_f.second;  // clang 14 captures no structured bindings
    const bool exact = u.low == u.high && std::isinf(u.low);
    const auto with_error = [&](Real relative, Real absolute) {
      return exact ? v.rounded(p_, 4) : v.widened(relative * v.finite_magnitude() + absolute).rounded(p_);
    };
    const R value = mixed(with_error(t_.value, t_.value_absolute), u);
    const R in_backward = mixed(with_error(t_.value, t_.value_in_backward), u);
    R slope = exact ? s : s.widened(t_.slope * std::max<Real>(s.finite_magnitude(), 0x1p-20));
    if (c_.dead_zone != 0) {
      const Real d(c_.dead_zone);
      if (u.low >= d || u.high <= -d) {
        slope = u.low == d || u.high == -d ? slope.or_zero() : slope;
      } else if (u.low > -d && u.high < d) {
        slope = R(0).or_nan(u.nan);
      } else {
        slope = slope.or_zero().or_nan(slope.nan);
      }
    }
    if (c_.linear_mix != 0) {
      slope = (slope * R(1 - Real(c_.linear_mix)) + R(c_.linear_mix)).rounded(p_, 3);
    }
    if (c_.clip && !std::isinf(*c_.clip)) {
      const Real limit(*c_.clip);
      const R m = in_backward;
      if (m.number && (m.low > limit || m.high < -limit)) {
        slope = m.nan ? slope.or_zero().or_nan(slope.nan) : R(0).or_nan(u.nan);  // NaN, of 0 * Inf, is not beyond
      } else if (m.number && (m.high >= limit || m.low <= -limit)) {
        slope = slope.or_zero().or_nan(slope.nan);
      }
    }
    return {finished(value), finished(in_backward), c_.sign == 1 ? slope : -slope};
  }
};

}  // namespace fuzz
