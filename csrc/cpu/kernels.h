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
    constexpr int64_t width = Vec<ScalarOf<T>>::size();
    for (int64_t i = 0; i < call.count; i += lanes<T>) {
      const Lanes<T> x = load<T>(static_cast<const T*>(call.from) + i, part(call.count, i, lanes<T>));
      for (size_t k = 0; k < x.size(); ++k) {
        const int64_t at = i + int64_t(k) * width;
        x[k].store(static_cast<ScalarOf<T>*>(call.to) + at, part(call.count, at, width));
      }
    }
  });
}

void evaluate_any(const cpu::Evaluate& call) {
  with_types(call.dtype, call.dtype, [&]<class T, class P>(T, P) {
    using Scalar = ScalarOf<T>;
    const auto* u = static_cast<const Scalar*>(call.u);
    for (int64_t i = 0; i < call.count; i += Vec<Scalar>::size()) {
      const int64_t n = std::min<int64_t>(Vec<Scalar>::size(), call.count - i);
      const Pack<Scalar, 1> x{Vec<Scalar>::loadu(u + i, n)};
      Erf<T>::value(x)[0].store(static_cast<Scalar*>(call.value) + i, n);
      const auto [slope, dead] = Erf<T>::slope(x);
      zero_where(dead[0], slope[0]).store(static_cast<Scalar*>(call.slope) + i, n);
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
