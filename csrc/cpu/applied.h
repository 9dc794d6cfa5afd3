// How a loop applies the function, alpha and shift to a block of input: known at compile time (Fixed), or whatever a
// call asks for (General). Both give
//   preactivation(x, c, count)     u of `count` elements of channels from c on
//   Stretch<rows>, prepare_value, prepare_gradient   of up to `stretch` elements of each row what is done ahead of the
//   rest value(x, c, count, prepared, at), gradient<want_value>(the same)   of the function at u, `at` elements into
//   the
//                                  stretch; gradient has value, slope and where the slope is alive
//   times_alpha(h, alive, c, count)     h alpha where it is alive, else 0
#pragma once
#include <limits>

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
  static constexpr int64_t stretch = std::numeric_limits<int64_t>::max();
  template <int rows>
  struct Stretch {};  // nothing is done ahead
  template <int rows, class X>
  void prepare_value(Stretch<rows>&, const X*, int64_t, int64_t, int64_t) const {}
  template <int rows, class X>
  void prepare_gradient(Stretch<rows>&, const X*, int64_t, int64_t, int64_t) const {}

  template <size_t n, int rows>
  inline __attribute__((always_inline)) auto value(const Pack<opmath_t<T>, n>& x, int64_t c, int64_t count,
                                                   const Stretch<rows>&, int64_t) const {
    return F::value(preactivation(x, c, count));
  }
  template <bool want_value, size_t n, int rows>
  inline __attribute__((always_inline)) auto gradient(const Pack<opmath_t<T>, n>& x, int64_t c, int64_t count,
                                                      const Stretch<rows>&, int, int64_t) const {
    auto u = preactivation(x, c, count);
    if (count < chunk_size<T>) {  // lanes that are not there count as 0, whatever alpha and shift are
      for (size_t r = 0; r < n / vectors; ++r) {
        set_row(u, r, zero_tail<T>(row(u, r), count));
      }
    }
    return F::template gradient<want_value>(u);
  }
  template <class LaneMask>
  inline __attribute__((always_inline)) Chunk<T> times_alpha(const Chunk<T>& h, const LaneMask& alive, int64_t,
                                                             int64_t) const {
    return each([&](auto mask, V a) { return select_or_zero(mask, a * alpha); }, alive, h);
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
  inline __attribute__((always_inline)) Pack<Scalar, n> preactivation(const Pack<Scalar, n>& x, int64_t c,
                                                                      int64_t count) const {
    if (!alphas) {
      return each([&](V each_x) { return fmadd(alpha, each_x, shift); }, x);
    }
    const Chunk<T> a = load<T>(alphas + c, count), s = load<T>(shifts + c, count);
    Pack<Scalar, n> u;
#pragma GCC unroll 4
    for (size_t k = 0; k < n; ++k) {
      u[k] = fmadd(a[k % vectors], x[k], s[k % vectors]);
    }
    return u;
  }

  // A call of a function costs its constants and all that the caller has in registers: so it gets a stretch at a time.
  static constexpr int64_t stretch = 256;
  template <int rows>
  struct Stretch {
    alignas(64) Scalar value[rows][stretch];
    alignas(64) Scalar slope[rows][stretch];
  };
  template <int rows, class X>
  void prepare_value(Stretch<rows>& to, const X* input, int64_t stride, int64_t c, int64_t count) const {
    for (int r = 0; r < rows; ++r) {
      f.value(to.value[r], to.value[r], arguments<false>(to.value[r], input + r * stride, c, count));
    }
  }
  template <int rows, class X>
  void prepare_gradient(Stretch<rows>& to, const X* input, int64_t stride, int64_t c, int64_t count) const {
    for (int r = 0; r < rows; ++r) {
      f.gradient(to.value[r], to.value[r], to.slope[r], arguments<true>(to.value[r], input + r * stride, c, count));
    }
  }

  template <size_t n, int rows>
  inline __attribute__((always_inline)) Pack<Scalar, n> value(const Pack<Scalar, n>& x, int64_t c, int64_t count,
                                                              const Stretch<rows>& prepared, int64_t at) const {
    Pack<Scalar, n> v = loaded<n>(prepared.value[0] + at);
    if (studies) {
      v = each([&](V each_u, V y) { return limited_value(mixed(each_u, y)); }, preactivation(x, c, count), v);
    }
    return v;
  }

  template <size_t n>
  struct Gradient {
    Pack<Scalar, n> value, slope;
    Several<LaneMask<Scalar>, n> alive;
  };
  template <bool, size_t n, int rows>
  inline __attribute__((always_inline)) Gradient<n> gradient(const Pack<Scalar, n>& x, int64_t c, int64_t count,
                                                             const Stretch<rows>& prepared, int first_row,
                                                             int64_t at) const {
    Gradient<n> out;
    out.value = loaded<n>(prepared.value[first_row] + at);
    out.slope = loaded<n>(prepared.slope[first_row] + at);
    if (studies) {
      const Pack<Scalar, n> u = preactivation(x, c, count);
      out.value = each([&](V each_u, V y) { return mixed(each_u, y); }, u, out.value);
      out.slope = each([&](V each_u, V y, V d) { return limited_slope(each_u, y, d); }, u, out.value, out.slope);
      out.value = each([&](V y) { return limited_value(y); }, out.value);
    }
    out.alive = each([](V d) { return not_equal(d, Scalar(0)); }, out.slope);
    return out;
  }

  template <class LaneMask>
  inline __attribute__((always_inline)) Chunk<T> times_alpha(const Chunk<T>& h, const LaneMask& alive, int64_t c,
                                                             int64_t count) const {
    const Chunk<T> a = alphas ? load<T>(alphas + c, count) : Chunk<T>{alpha, alpha};
    return each([](auto mask, V x, V y) { return select_or_zero(mask, x * y); }, alive, h, a);
  }
  V weight(V w) const { return w + weight_offset; }

 private:
  static double at_channel(const void* parameter, int64_t channel, double otherwise) {
    return parameter && channel >= 0 ? double(static_cast<const Scalar*>(parameter)[channel]) : otherwise;
  }

  // What f is called with, and how many vectors of it. Lanes that are not there count as 0 for gradients, whatever
  // alpha and shift are.
  template <bool of_gradient, class X>
  int arguments(Scalar* to, const X* input, int64_t c, int64_t count) const {
    const int n = int((count + chunk_size<T> - 1) / chunk_size<T>) * int(vectors);
    const auto put = [&](int64_t i, const Chunk<T>& u) __attribute__((always_inline)) {
      u[0].store(to + i);
      u[1].store(to + i + V::size());
    };
    int64_t i = 0;
    for (; i + chunk_size<T> <= count; i += chunk_size<T>) {
      put(i, preactivation(load<T>(input + i, chunk_size<T>), c + i, chunk_size<T>));
    }
    if (i < count) {
      const Chunk<T> u = preactivation(load<T>(input + i, count - i), c + i, count - i);
      put(i, of_gradient ? zero_tail<T>(u, count - i) : u);
    }
    if (studies) {
      for (int k = 0; k < n; ++k) {
        before_function(V::loadu(to + k * V::size())).store(to + k * V::size());
      }
    }
    return n;
  }
  // Vectors of rows that are prepared.
  template <size_t n>
  static inline __attribute__((always_inline)) Pack<Scalar, n> loaded(const Scalar* first_row) {
    Pack<Scalar, n> x;
#pragma GCC unroll 4
    for (size_t k = 0; k < n; ++k) {
      x[k] = V::loadu(first_row + k / vectors * stretch + k % vectors * V::size());
    }
    return x;
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
