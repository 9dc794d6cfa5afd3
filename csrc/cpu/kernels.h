// From dtypes to templates; included once per instruction set.
#include <c10/util/Exception.h>

#include "../functions/erf.h"
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

void evaluate_any(const cpu::Evaluate& call) {
  with_types(call.dtype, call.dtype, [&]<class T, class P>(T, P) {
    using Scalar = ScalarOf<T>;
    const auto* u = static_cast<const Scalar*>(call.u);
    for (int64_t i = 0; i < call.count; i += Vec<Scalar>::size()) {
      const int64_t n = std::min<int64_t>(Vec<Scalar>::size(), call.count - i);
      const auto x = Vec<Scalar>::loadu(u + i, n);
      const auto in_unit = [&](double unit) { return Pack<Scalar, 1>{x * Vec<Scalar>(unit)}; };
      Erf<T>::value(in_unit(Erf<T>::value_unit))[0].store(static_cast<Scalar*>(call.value) + i, n);
      const auto gradient = Erf<T>::template gradient<true>(in_unit(Erf<T>::gradient_unit));
      gradient.value[0].store(static_cast<Scalar*>(call.value_in_sums) + i, n);
      keep(gradient.alive[0], gradient.slope[0]).store(static_cast<Scalar*>(call.slope) + i, n);
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
