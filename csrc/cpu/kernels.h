// From dtypes to templates; included once per instruction set.
#include <c10/util/Exception.h>

#include "../functions/any.h"
#include "backward.h"
#include "forward.h"

#if defined(CPU_CAPABILITY_AVX512)
#define DERF_CAPABILITY "avx512"
#elif defined(CPU_CAPABILITY_AVX2)
#define DERF_CAPABILITY "avx2"
#else
#define DERF_CAPABILITY "default"
#endif

namespace derf::CPU_CAPABILITY {
namespace {

// Calls body(T{}, P{}) with the types of input and parameters; problem.cpp has refused all other pairs.
template <class Body>
void with_types(c10::ScalarType dtype, c10::ScalarType param_dtype, const Body& body) {
  const bool wide = param_dtype == c10::ScalarType::Float;
  switch (dtype) {
    case c10::ScalarType::Double: return body(double{}, double{});
    case c10::ScalarType::Float: return body(float{}, float{});
    case c10::ScalarType::Half: return wide ? body(c10::Half{}, float{}) : body(c10::Half{}, c10::Half{});
    case c10::ScalarType::BFloat16:
      return wide ? body(c10::BFloat16{}, float{}) : body(c10::BFloat16{}, c10::BFloat16{});
    default: TORCH_INTERNAL_ASSERT(false);  // a message would instantiate code shared with other files
  }
}

void forward_any(const cpu::Forward& call, int64_t begin, int64_t end) {
  with_types(call.dtype, call.param_dtype, [&]<class T, class P>(T, P) { forward<Erf, T, P>(call, begin, end); });
}

void backward_any(const cpu::Backward& call, int64_t begin, int64_t end) {
  with_types(call.dtype, call.param_dtype, [&]<class T, class P>(T, P) { backward<Erf, T, P>(call, begin, end); });
}

void reduce_any(const cpu::Reduce& call, int64_t begin, int64_t end) {
  with_types(call.dtype, call.param_dtype, [&]<class T, class P>(T, P) { reduce<ScalarOf<T>, P>(call, begin, end); });
}

void widen_any(const cpu::Widen& call) {
  with_types(call.dtype, call.dtype, [&]<class T, class P>(T, P) {
    for (int64_t i = 0; i < call.count; i += lanes<T>) {
      const int64_t n = part(call.count, i, lanes<T>);
      store_plain<T>(static_cast<ScalarOf<T>*>(call.to) + i, load<T>(static_cast<const T*>(call.from) + i, n), n);
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
                  keep(gradient.alive[0], gradient.slope[0]));
  }
}

template <class Scalar>
void evaluate_untuned(const cpu::Evaluate& call) {
  using V = Vec<Scalar>;
  const auto& f = any_function<Scalar>(call.function);
  for (int64_t i = 0; i < call.count; i += V::size()) {
    const int64_t n = std::min<int64_t>(V::size(), call.count - i);
    const V u[2] = {V::loadu(static_cast<const Scalar*>(call.u) + i, n), V(0)};
    V value[2], in_sums[2], slope[2];
    f.value(u, value, 2);
    f.gradient(u, in_sums, slope, 2);
    store_results(call, i, n, value[0], in_sums[0], slope[0]);
  }
}

void evaluate_any(const cpu::Evaluate& call) {
  with_types(call.dtype, call.dtype, [&]<class T, class P>(T, P) {
    switch (call.function) {
      case Function::erf: return evaluate_tuned<Erf<T>>(call);
      case Function::tanh: return evaluate_tuned<Tanh<T>>(call);
      default: return evaluate_untuned<ScalarOf<T>>(call);
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
