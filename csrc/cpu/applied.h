// How a loop applies the function, alpha and shift to a block of input: known at compile time (Fixed), or whatever a
// call asks for (General). Both give
//   preactivation(x, c, count)     u of `count` elements of channels from c on
//   value(u), gradient<want_value>(u)   of the function at u; gradient has value, slope and where the slope is alive
//   times_alpha(h, alive, c, count)     h alpha where it is alive, else 0
#pragma once
#include "../functions/any.h"
#include "../functions/study.h"
#include "memory.h"

namespace derf::CPU_CAPABILITY {

template <class Function, class Type>
struct Fixed {
  using T = Type;
  using F = Function;
  using V = Vec<opmath_t<T>>;
  static constexpr bool is_general = false;
  V alpha, scaled_alpha, scaled_shift;  // the latter in the unit of f

  // Only loops over one channel have a channel of their own.
  Fixed(const cpu::Task& task, double unit, int64_t = 0)
      : alpha(shared_parameter<T>(task.alpha)),
        scaled_alpha(shared_parameter<T>(task.alpha, unit)),
        scaled_shift(shared_parameter<T>(task.shift, unit)) {}

  template <size_t n>
  inline __attribute__((always_inline)) Pack<opmath_t<T>, n> preactivation(const Pack<opmath_t<T>, n>& x, int64_t,
                                                                           int64_t) const {
    return each([&](V each_x) { return fmadd(scaled_alpha, each_x, scaled_shift); }, x);
  }
  template <size_t n>
  static inline __attribute__((always_inline)) auto value(const Pack<opmath_t<T>, n>& u) {
    return F::value(u);
  }
  template <bool want_value, size_t n>
  static inline __attribute__((always_inline)) auto gradient(const Pack<opmath_t<T>, n>& u) {
    return F::template gradient<want_value>(u);
  }
  template <class Alive>
  inline __attribute__((always_inline)) Chunk<T> times_alpha(const Chunk<T>& h, const Alive& alive, int64_t,
                                                             int64_t) const {
    return each([&](auto mask, V a) { return keep(mask, a * alpha); }, alive, h);
  }
  V weight(V w) const { return w; }
};

// What alpha and shift are to be multiplied by, for the value and for the gradient.
template <class Applied>
constexpr double value_unit = [] {
  if constexpr (Applied::is_general) {
    return 1.;
  } else {
    return Applied::F::value_unit;
  }
}();
template <class Applied>
constexpr double gradient_unit = [] {
  if constexpr (Applied::is_general) {
    return 1.;
  } else {
    return Applied::F::gradient_unit;
  }
}();

template <class Type>
struct General {
  using T = Type;
  using Scalar = opmath_t<T>;
  using V = Vec<Scalar>;
  static constexpr bool is_general = true;
  const AnyFunction<Scalar>& f;
  const Study study;
  const bool studies;
  const Scalar *alphas, *shifts;  // null where one serves all
  const V alpha, shift, weight_offset;

  // channel: of all elements, where a loop runs over one channel; it is -1 where a loop runs over channels.
  General(const cpu::Task& task, double, int64_t channel)
      : f(any_function<Scalar>(task.function)),
        study(task.study),
        studies(task.study.is_active()),
        alphas(channel < 0 ? static_cast<const Scalar*>(task.alphas) : nullptr),
        shifts(channel < 0 ? static_cast<const Scalar*>(task.shifts) : nullptr),
        alpha(shared_parameter<T>(at_channel(task.alphas, channel, task.alpha))),
        shift(shared_parameter<T>(at_channel(task.shifts, channel, task.shift))),
        weight_offset(Scalar(task.weight_offset)) {}

  template <size_t n>
  Pack<Scalar, n> preactivation(const Pack<Scalar, n>& x, int64_t c, int64_t count) const {
    if (!alphas) {
      return each([&](V each_x) { return fmadd(alpha, each_x, shift); }, x);
    }
    const Chunk<T> a = load<T>(alphas + c, count), s = load<T>(shifts + c, count);
    Pack<Scalar, n> u;
    for (size_t k = 0; k < n; ++k) {
      u[k] = fmadd(a[k % vectors], x[k], s[k % vectors]);
    }
    return u;
  }

  template <size_t n>
  Pack<Scalar, n> value(const Pack<Scalar, n>& u) const {
    Pack<Scalar, n> v;
    if (!studies) {
      f.value(u.data(), v.data(), n);
      return v;
    }
    const Pack<Scalar, n> before = each([&](V x) { return before_function(x); }, u);
    f.value(before.data(), v.data(), n);
    return each([&](V x, V y) { return limited_value(mixed(x, y)); }, u, v);
  }

  template <size_t n>
  struct Gradient {
    Pack<Scalar, n> value, slope;
    std::array<Alive<Scalar>, n> alive;
  };
  template <bool, size_t n>
  Gradient<n> gradient(const Pack<Scalar, n>& u) const {
    Gradient<n> out;
    if (!studies) {
      f.gradient(u.data(), out.value.data(), out.slope.data(), n);
    } else {
      const Pack<Scalar, n> before = each([&](V x) { return before_function(x); }, u);
      f.gradient(before.data(), out.value.data(), out.slope.data(), n);
      for (size_t k = 0; k < n; ++k) {
        const V v = mixed(u[k], out.value[k]);
        out.slope[k] = limited_slope(u[k], v, out.slope[k]);
        out.value[k] = limited_value(v);
      }
    }
    out.alive = each([](V x) { return differs(x, Scalar(0)); }, out.slope);
    return out;
  }

  template <class Alive>
  Chunk<T> times_alpha(const Chunk<T>& h, const Alive& alive, int64_t c, int64_t count) const {
    const Chunk<T> a = alphas ? load<T>(alphas + c, count) : Chunk<T>{alpha, alpha};
    return each([](auto mask, V x, V y) { return keep(mask, x * y); }, alive, h, a);
  }
  V weight(V w) const { return w + weight_offset; }

 private:
  static double at_channel(const void* parameter, int64_t channel, double otherwise) {
    return parameter && channel >= 0 ? double(static_cast<const Scalar*>(parameter)[channel]) : otherwise;
  }

  // The studies around f; study.h has the formula.
  V before_function(V u) const {
    const V zero(Scalar(0)), beyond = magnitude(u) - V(Scalar(study.dead_zone));
    const V u1 = study.dead_zone == 0 ? u : with_sign_of(select_greater(zero, beyond, zero, beyond), u);
    return study.input_shift == 0 ? u1 : u1 + V(Scalar(study.input_shift));
  }
  V mixed(V u, V v) const {
    return study.linear_mix == 0 ? v : fmadd(V(Scalar(study.linear_mix)), u, v * V(Scalar(1 - study.linear_mix)));
  }
  V limited_value(V v) const {
    const V high(Scalar(study.clip)), low(Scalar(-study.clip)), sign(Scalar(study.sign));
    v = select_greater(v, high, high, v);
    v = select_greater(low, v, low, v);
    return study.output_shift == 0 ? v * sign : (v + V(Scalar(study.output_shift))) * sign;
  }
  V limited_slope(V u, V v, V slope) const {
    const V zero(Scalar(0));
    slope = select_greater(V(Scalar(study.dead_zone)), magnitude(u), zero, slope);
    if (study.linear_mix != 0) {
      slope = fmadd(slope, V(Scalar(1 - study.linear_mix)), V(Scalar(study.linear_mix)));
    }
    return select_greater(magnitude(v), V(Scalar(study.clip)), zero, slope * V(Scalar(study.sign)));
  }
};

}  // namespace derf::CPU_CAPABILITY
