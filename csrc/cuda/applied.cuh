// How a thread applies alpha, shift and the function to its column: known at compile time (Fixed), or whatever a call
// asks for (General). Both give
//   unpack()                   before the first use
//   preactivation(x, i)        u of the column's i-th element
//   value(u)                   the function, in place
//   gradient(u, value, slope)  its value and slope; the slope is exactly 0 where it is dead
//   times_alpha(h, dead, i)    h alpha, 0 where the slope is
#pragma once
#include "../functions/any.cuh"
#include "memory.cuh"

namespace derf::cuda {

template <class Number>
constexpr Number largest = std::numeric_limits<Number>::max();

// What is added to weight: where nothing is, -0, which leaves every number as it is, 0 included.
template <class Number>
Number weight_offset(const Call& call) {
  return call.weight_offset == 0 ? -Number(0) : Number(call.weight_offset);
}

// One alpha and one shift, no study.
template <template <class> class Function, class Type>
struct Fixed {
  using T = Type;
  using Number = opmath_t<T>;
  static constexpr bool is_general = false;

  struct Options {
    Number weight_offset;

    explicit Options(const Call& call) : weight_offset(cuda::weight_offset<Number>(call)) {}
  };

  template <int width>
  struct Column {
    static constexpr int scalars = 1;  // sums of alpha and of shift
    Fetched<T, 1> alpha, shift;

    DERF_THREAD Column(const Call& call, const Options&, const Channels&)
        : alpha(fetch_one<T>(call.alpha.data, call.alpha.type)),
          shift(fetch_one<T>(call.shift.data, call.shift.type)) {}
    DERF_THREAD void unpack() {
      alpha.unpack();
      shift.unpack();
    }

    DERF_THREAD Number preactivation(Number x, int) const { return std::fma(alpha.values[0], x, shift.values[0]); }
    DERF_THREAD static void value(Number (&u)[width]) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        u[i] = Function<T>::value(u[i]);
      }
    }
    DERF_THREAD static void gradient(const Number (&u)[width], Number (&value)[width], Number (&slope)[width]) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        slope[i] = Function<T>::slope(u[i]);
        value[i] = Function<T>::value(u[i]);
      }
    }
    // Where alpha is infinite all slopes are 0, or NaN: a finite one spares the look at `dead`.
    DERF_THREAD Number times_alpha(Number h, bool, int) const {
      return h * std::fmin(std::fmax(alpha.values[0], -largest<Number>), largest<Number>);
    }
  };
};

// Any function by a switch that all threads take alike, for a few elements at once. Calls: loops that had the switch in
// them would be long.
template <class Number, int n>
struct Few {
  Number each[n];
};
template <class Number, int n>
struct FewGradients {
  Few<Number, n> value, slope;
};
template <class Number, int n>
DERF_THREAD_CALL Few<Number, n> few_values(Function function, Few<Number, n> u) {
  switch (function) {
#define DERF_ENTRY(name, Type)               \
  case Function::name:                       \
    for (int i = 0; i < n; ++i) {            \
      u.each[i] = value_of<Type>(u.each[i]); \
    }                                        \
    break;
    DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
  }
  return u;
}
template <class Number, int n>
DERF_THREAD_CALL FewGradients<Number, n> few_gradients(Function function, Few<Number, n> u) {
  FewGradients<Number, n> to;
  switch (function) {
#define DERF_ENTRY(name, Type)                               \
  case Function::name:                                       \
    for (int i = 0; i < n; ++i) {                            \
      const auto both = value_and_slope_of<Type>(u.each[i]); \
      to.value.each[i] = both.value;                         \
      to.slope.each[i] = both.slope;                         \
    }                                                        \
    break;
    DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
  }
  return to;
}

// The studies around f; study.h has the formula.
template <class Number>
struct StudyIn {
  bool any;
  Number dead_zone, input_shift, mix, rest_of_mix, clip, output_shift, sign;

  explicit StudyIn(const Study& study)
      : any(study.is_active()),
        dead_zone(Number(study.dead_zone)),
        input_shift(Number(study.input_shift)),
        mix(Number(study.linear_mix)),
        rest_of_mix(Number(1 - study.linear_mix)),
        clip(Number(study.clip)),
        output_shift(Number(study.output_shift)),
        sign(Number(study.sign)) {}

  DERF_THREAD Number before_function(Number u) const {
    if (dead_zone != 0) {
      const Number beyond = std::fabs(u) - dead_zone;
      u = std::copysign(beyond < 0 ? 0 : beyond, u);
    }
    return input_shift == 0 ? u : u + input_shift;
  }
  DERF_THREAD Number mixed(Number u, Number v) const { return mix == 0 ? v : std::fma(mix, u, v * rest_of_mix); }
  DERF_THREAD Number limited_value(Number v) const {
    v = v > clip ? clip : v;
    v = v < -clip ? -clip : v;
    return (output_shift == 0 ? v : v + output_shift) * sign;
  }
  DERF_THREAD Number limited_slope(Number u, Number v, Number slope) const {
    slope = std::fabs(u) < dead_zone ? 0 : slope;
    slope = mix == 0 ? slope : std::fma(slope, rest_of_mix, mix);
    return std::fabs(v) > clip ? 0 : slope * sign;
  }
};

template <class Type>
struct General {
  using T = Type;
  using Number = opmath_t<T>;
  static constexpr bool is_general = true;

  struct Options {
    Function function;
    StudyIn<Number> study;
    Number weight_offset;

    explicit Options(const Call& call)
        : function(call.function), study(call.study), weight_offset(cuda::weight_offset<Number>(call)) {}
  };

  template <int width>
  struct Column {
    static constexpr int scalars = width;
    static constexpr int few = width < 4 ? width : 4;
    const Options& options;
    const bool per_channel;
    Fetched<T, width> alpha, shift;

    DERF_THREAD Column(const Call& call, const Options& options_, const Channels& each)
        : options(options_), per_channel(call.alpha_per_channel) {
      const auto fetch = [&](const Scalar& scalar, Fetched<T, width>& to) {
        if (per_channel) {
          to = each.template fetch<T, width>({scalar.data, scalar.type, 0}, 0, -Number(0));
        } else {
          const auto all = fetch_one<T>(scalar.data, scalar.type);
          to.values[0] = all.values[0];
          to.packed = all.packed;
        }
      };
      fetch(call.alpha, alpha);
      fetch(call.shift, shift);
    }
    DERF_THREAD void unpack() {
      const auto unpack = [&](Fetched<T, width>& of) {
        if (per_channel) {
          of.unpack();
        } else {
          Fetched<T, 1> all{{of.values[0]}, of.packed};
          all.unpack();
          of.fill(all.values[0]);
        }
      };
      unpack(alpha);
      unpack(shift);
    }

    DERF_THREAD Number preactivation(Number x, int i) const { return std::fma(alpha.values[i], x, shift.values[i]); }
    DERF_THREAD void value(Number (&u)[width]) const {
#pragma unroll
      for (int i = 0; i < width; i += few) {
        Few<Number, few> f;
#pragma unroll
        for (int k = 0; k < few; ++k) {
          f.each[k] = options.study.any ? options.study.before_function(u[i + k]) : u[i + k];
        }
        f = few_values<Number, few>(options.function, f);
#pragma unroll
        for (int k = 0; k < few; ++k) {
          const Number v = f.each[k];
          u[i + k] = options.study.any ? options.study.limited_value(options.study.mixed(u[i + k], v)) : v;
        }
      }
    }
    DERF_THREAD void gradient(const Number (&u)[width], Number (&value)[width], Number (&slope)[width]) const {
#pragma unroll
      for (int i = 0; i < width; i += few) {
        Few<Number, few> before;
#pragma unroll
        for (int k = 0; k < few; ++k) {
          before.each[k] = options.study.any ? options.study.before_function(u[i + k]) : u[i + k];
        }
        const auto f = few_gradients<Number, few>(options.function, before);
#pragma unroll
        for (int k = 0; k < few; ++k) {
          value[i + k] = f.value.each[k];
          slope[i + k] = f.slope.each[k];
        }
      }
      if (options.study.any) {
#pragma unroll
        for (int i = 0; i < width; ++i) {
          const Number v = options.study.mixed(u[i], value[i]);
          slope[i] = options.study.limited_slope(u[i], v, slope[i]);
          value[i] = options.study.limited_value(v);
        }
      }
    }
    DERF_THREAD Number times_alpha(Number h, bool dead, int i) const { return dead ? 0 : h * alpha.values[i]; }
  };
};

}  // namespace derf::cuda
