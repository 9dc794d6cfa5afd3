// From dtypes and functions to templates; included once per instruction set.
#include <c10/util/Exception.h>

#include "../functions/any.h"
#include "backward.h"

#if defined(CPU_CAPABILITY_AVX512)
#define DERF_CAPABILITY "avx512"
#elif defined(CPU_CAPABILITY_AVX2)
#define DERF_CAPABILITY "avx2"
#elif defined(CPU_CAPABILITY_NEON)
#define DERF_CAPABILITY "neon"
#else
#define DERF_CAPABILITY "default"
#endif

namespace derf::CPU_CAPABILITY {
namespace {

// Calls body(T{}, P{}) with the types of input and parameters; `check` has refused all other pairs.
template <class Body>
void with_types(Type type, Type param_type, const Body& body) {
  const bool wide = param_type == Type::f32;
  switch (type) {
    case Type::f64: return body(double{}, double{});
    case Type::f32: return body(float{}, float{});
    case Type::f16: return wide ? body(c10::Half{}, float{}) : body(c10::Half{}, c10::Half{});
    default: return wide ? body(c10::BFloat16{}, float{}) : body(c10::BFloat16{}, c10::BFloat16{});
  }
}

// Calls body.operator()<Applied>(): loops of their own for erf and tanh, and one that serves all else.
template <class T, class Body>
void with_applied(const cpu::Task& task, const Body& body) {
  if (!task.is_general() && task.function == Function::erf) {
    body.template operator()<Fixed<Erf<T>, T>>();
  } else if (!task.is_general() && task.function == Function::tanh) {
    body.template operator()<Fixed<Tanh<T>, T>>();
  } else {
    body.template operator()<General<T>>();
  }
}

// Calls body.operator()<Applied, P, In>() with all that a loop is made of.
template <class Body>
void with_input(const cpu::Task& task, const Body& body) {
  if (!task.adds) {
    return with_types(task.type, task.param_type, [&]<class T, class P>(T, P) {
      with_applied<T>(task, [&]<class Applied>() { body.template operator()<Applied, P, Plain<T>>(); });
    });
  }
  with_types(task.type, task.sum_type, [&]<class T, class Sum>(T, Sum) {
    with_applied<T>(
        task, [&]<class Applied>() { body.template operator()<Applied, EitherIf16<T>, ResidualInput<T, Sum>>(); });
  });
}

void forward_any(const cpu::ForwardTask& task, int64_t begin, int64_t end) {
  if (!task.quantized) {
    return with_input(task, [&]<class Applied, class P, class In>() {
      forward<Applied, P, In, Whole<typename Applied::T>>(task, begin, end);
    });
  }
  with_types(task.type, task.adds ? task.sum_type : task.type, [&]<class T, class Sum>(T, Sum) {
    const auto run = [&]<class Applied>() {
      if (task.adds) {
        forward<Applied, EitherIf16<T>, ResidualInput<T, Sum>, Eight<T>>(task, begin, end);
      } else if constexpr (std::is_same_v<T, Sum>) {
        forward<Applied, EitherIf16<T>, Plain<T>, Eight<T>>(task, begin, end);
      }
    };
    if (!task.is_general() && task.function == Function::erf) {  // tanh is left to the loop that serves all
      run.template operator()<Fixed<Erf<T>, T>>();
    } else {
      run.template operator()<General<T>>();
    }
  });
}

void backward_any(const cpu::BackwardTask& task, int64_t begin, int64_t end) {
  with_input(task, [&]<class Applied, class P, class In>() { backward<Applied, P, In>(task, begin, end); });
}

void reduce_any(const cpu::Reduce& call, int64_t begin, int64_t end) {
  call.type == Type::f64 ? reduce<double>(call, begin, end) : reduce<float>(call, begin, end);
}

void widen_any(const cpu::Widen& call) {
  with_types(call.type, call.type, [&]<class T, class P>(T, P) {
    using Scalar = opmath_t<T>;
    const Vec<Scalar> offset(Scalar(call.offset));
    for (int64_t i = 0; i < call.count; i += chunk_size<T>) {
      const int64_t n = part(call.count, i, chunk_size<T>);
      Chunk<T> x = load<T>(static_cast<const T*>(call.from) + i, n);
      if (call.offset != 0) {
        x = each([&](Vec<Scalar> a) { return a + offset; }, x);
      }
      store_plain<T>(static_cast<Scalar*>(call.to) + i, x, n);
    }
  });
}

template <class Scalar>
void store_results(const cpu::Evaluate& call, int64_t at, int64_t n, Vec<Scalar> value, Vec<Scalar> value_in_sums,
                   Vec<Scalar> slope) {
  value.store(static_cast<Scalar*>(call.value) + at, n);
  value_in_sums.store(static_cast<Scalar*>(call.value_in_sums) + at, n);
  slope.store(static_cast<Scalar*>(call.slope) + at, n);
}

template <class F>
void evaluate_tuned(const cpu::Evaluate& call) {
  using Scalar = typename F::Scalar;
  for (int64_t i = 0; i < call.count; i += Vec<Scalar>::size()) {
    const int64_t n = std::min<int64_t>(Vec<Scalar>::size(), call.count - i);
    const auto x = Vec<Scalar>::loadu(static_cast<const Scalar*>(call.u) + i, n);
    const auto in_unit = [&](double unit) { return Pack<Scalar, 1>{x * Vec<Scalar>(unit)}; };
    const auto gradient = F::template gradient<true>(in_unit(F::gradient_unit));
    store_results(call, i, n, F::value(in_unit(F::value_unit))[0], gradient.value[0],
                  select_or_zero(gradient.alive[0], gradient.slope[0]));
  }
}

template <class Scalar>
void evaluate_untuned(const cpu::Evaluate& call) {
  using V = Vec<Scalar>;
  const auto& f = any_function<Scalar>(call.function);
  for (int64_t i = 0; i < call.count; i += V::size()) {
    const int64_t n = std::min<int64_t>(V::size(), call.count - i);
    alignas(64) Scalar u[2 * V::size()] = {}, value[2 * V::size()], in_sums[2 * V::size()], slope[2 * V::size()];
    V::loadu(static_cast<const Scalar*>(call.u) + i, n).store(u);
    f.value(u, value, 2);
    f.gradient(u, in_sums, slope, 2);
    store_results(call, i, n, V::loadu(value), V::loadu(in_sums), V::loadu(slope));
  }
}

void evaluate_any(const cpu::Evaluate& call) {
  with_types(call.type, call.type, [&]<class T, class P>(T, P) {
    switch (call.function) {
      case Function::erf: return evaluate_tuned<Erf<T>>(call);
      case Function::tanh: return evaluate_tuned<Tanh<T>>(call);
      default: return evaluate_untuned<opmath_t<T>>(call);
    }
  });
}

}  // namespace
}  // namespace derf::CPU_CAPABILITY

const derf::cpu::Kernels derf::cpu::CPU_CAPABILITY::kernels = {DERF_CAPABILITY,
                                                               &derf::CPU_CAPABILITY::forward_any,
                                                               &derf::CPU_CAPABILITY::backward_any,
                                                               &derf::CPU_CAPABILITY::reduce_any,
                                                               &derf::CPU_CAPABILITY::widen_any,
                                                               &derf::CPU_CAPABILITY::evaluate_any};
