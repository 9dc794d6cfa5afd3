// From dtypes and functions to templates; included once per instruction set.
#include <c10/util/Exception.h>

#include "../functions/erf.h"
#include "../functions/tanh.h"
#include "backward.h"

#if defined(CPU_CAPABILITY_AVX512)
#define DERF_CAPABILITY "avx512"
#elif defined(CPU_CAPABILITY_AVX2)
#define DERF_CAPABILITY "avx2"
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

// Calls body.operator()<Applied, P>(): loops of their own for erf and tanh, and one that serves all else.
template <class Body>
void with_function(const cpu::Task& task, const Body& body) {
  with_types(task.type, task.param_type, [&]<class T, class P>(T, P) {
    if (!task.is_general() && task.function == Function::erf) {
      body.template operator()<Fixed<Erf<T>, T>, P>();
    } else if (!task.is_general() && task.function == Function::tanh) {
      body.template operator()<Fixed<Tanh<T>, T>, P>();
    } else {
      body.template operator()<General<T>, P>();
    }
  });
}

void forward_any(const cpu::ForwardTask& task, int64_t begin, int64_t end) {
  with_function(task, [&]<class Applied, class P>() { forward<Applied, P>(task, begin, end); });
}

void backward_any(const cpu::BackwardTask& task, int64_t begin, int64_t end) {
  with_function(task, [&]<class Applied, class P>() { backward<Applied, P>(task, begin, end); });
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

template <class F, class Scalar>
void evaluate_tuned(const cpu::Evaluate& call) {
  const auto* u = static_cast<const Scalar*>(call.u);
  for (int64_t i = 0; i < call.count; i += Vec<Scalar>::size()) {
    const int64_t n = std::min<int64_t>(Vec<Scalar>::size(), call.count - i);
    const auto x = Vec<Scalar>::loadu(u + i, n);
    const auto in_unit = [&](double unit) { return Pack<Scalar, 1>{x * Vec<Scalar>(unit)}; };
    F::value(in_unit(F::value_unit))[0].store(static_cast<Scalar*>(call.value) + i, n);
    const auto gradient = F::template gradient<true>(in_unit(F::gradient_unit));
    gradient.value[0].store(static_cast<Scalar*>(call.value_in_sums) + i, n);
    keep(gradient.alive[0], gradient.slope[0]).store(static_cast<Scalar*>(call.slope) + i, n);
  }
}

void evaluate_any(const cpu::Evaluate& call) {
  with_types(call.type, call.type, [&]<class T, class P>(T, P) {
    if (call.function == Function::erf) {
      evaluate_tuned<Erf<T>, opmath_t<T>>(call);
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
