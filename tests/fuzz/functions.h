// The family from its definitions, by the C library: value and slope at a number.
#pragma once
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

namespace fuzz {

template <class Real>
struct ValueAndSlope {
  Real value, slope;
};

template <class Real>
struct Function {
  const char* name;
  ValueAndSlope<Real> (*at)(Real a);  // for a number a >= 0; value is odd, slope even
  ValueAndSlope<Real> at_infinity;
};

template <class Real>
const std::vector<Function<Real>>& functions() {
  constexpr Real inf = std::numeric_limits<Real>::infinity(), nan = std::numeric_limits<Real>::quiet_NaN();
  constexpr Real pi = std::numbers::pi_v<Real>, e = std::numbers::e_v<Real>;
  using R = ValueAndSlope<Real>;
  static constexpr auto root = [](Real a) { return std::sqrt(1 + a * a); };
  static constexpr auto log_sign = [](Real a) { return R{std::log1p(a), 1 / (1 + a)}; };
  static constexpr auto log_quad = [](Real a) { return R{std::log1p(a * a), 2 * a / (1 + a * a)}; };
  static constexpr auto power23 = [](Real a) {
    const Real c = std::cbrt(a);
    return R{c * c, a == 0 ? 0 : 2 / (3 * c)};
  };
  static constexpr auto arcsinh = [](Real a) { return R{std::asinh(a), 1 / root(a)}; };
  static constexpr auto linear = [](Real a) { return R{a, 1}; };
  static constexpr auto clip = [](R r) { return r.value > 1 ? R{1, 0} : r; };
  static const std::vector<Function<Real>> all{
      {"erf", [](Real a) { return R{std::erf(a), 2 / std::sqrt(pi) * std::exp(-a * a)}; }, {1, 0}},
      {"tanh",
       [](Real a) {
         const Real w = std::exp(-2 * a) / (1 + std::exp(-2 * a));
         return R{std::tanh(a), 4 * w * (1 - w)};
       },
       {1, 0}},
      {"arctan", [](Real a) { return R{2 / pi * std::atan(a), 2 / pi / (1 + a * a)}; }, {1, 0}},
      {"isru", [](Real a) { return R{a / root(a), 1 / (root(a) * root(a) * root(a))}; }, {1, 0}},
      {"relsign", [](Real a) { return R{a / (root(a) + 1), 1 / (root(a) * (root(a) + 1))}; }, {1, 0}},
      {"smoothsign", [](Real a) { return R{a / (1 + a), 1 / ((1 + a) * (1 + a))}; }, {1, 0}},
      {"cubsign",
       [](Real a) {
         const Real cube = a * a * a;
         return R{cube / (cube + 1), 3 * a / (cube + 1) * (a / (cube + 1))};
       },
       {1, 0}},
      {"expsign", [](Real a) { return R{-std::expm1(-a), std::exp(-a)}; }, {1, 0}},
      {"exproot",
       [](Real a) {
         const Real r = std::sqrt(a);
         return R{-std::expm1(-r), a == 0 ? 0 : std::exp(-r) / (2 * r)};
       },
       {1, 0}},
      {"saturlog",
       [](Real a) {
         const Real l = std::log1p(a);
         return R{l / (l + 1), 1 / ((1 + a) * (1 + l) * (1 + l))};
       },
       {1, 0}},
      {"satursin", [](Real a) { return a < pi / 2 ? R{std::sin(a), std::cos(a)} : R{1, 0}; }, {1, 0}},
      {"linear_clip", [](Real a) { return clip(linear(a)); }, {1, 0}},
      {"logsign_clip", [](Real a) { return clip(log_sign(a)); }, {1, 0}},
      {"logquad_clip", [](Real a) { return clip(log_quad(a)); }, {1, 0}},
      {"power23_clip", [](Real a) { return clip(power23(a)); }, {1, 0}},
      {"arcsinh_clip", [](Real a) { return clip(arcsinh(a)); }, {1, 0}},
      {"linear", linear, {inf, 1}},
      {"logsign", log_sign, {inf, 0}},
      {"logquad", log_quad, {inf, 0}},
      {"power23", power23, {inf, 0}},
      {"arcsinh", arcsinh, {inf, 0}},
      {"sin", [](Real a) { return R{std::sin(a), std::cos(a)}; }, {nan, nan}},
      {"dampx",
       [](Real a) { return R{2 * a / (1 + a * a), 2 * ((1 - a) / (1 + a * a)) * ((1 + a) / (1 + a * a))}; },
       {0, 0}},
      {"dampexp", [](Real a) { return R{e * a * std::exp(-a), e * (1 - a) * std::exp(-a)}; }, {0, 0}},
  };
  return all;
}

// Null where there is none of that name.
template <class Real>
const Function<Real>* function_named(const std::string& name) {
  for (const auto& f : functions<Real>()) {
    if (name == f.name) {
      return &f;
    }
  }
  return nullptr;
}

template <class Real>
ValueAndSlope<Real> evaluate(const Function<Real>& f, Real u) {
  if (u != u) {
    return {u, u};
  }
  const Real a = std::fabs(u);
  const auto [value, slope] = std::isinf(a) ? f.at_infinity : f.at(a);
  return {std::signbit(u) ? -value : value, slope};
}

}  // namespace fuzz
