// output = weight * f(alpha * input + shift) + bias, one pass, for a range of elements in the order of memory.
#pragma once
#include "call.h"
#include "lanes.h"

namespace derf::CPU_CAPABILITY {

// Elements [0, n) that share one channel, or (per_element) have one each; weight and bias point at the first of them.
template <class F, bool per_element, class T, class P>
inline void forward_run(const T* input, T* output, const P* weight, const P* bias, int64_t n, const cpu::Forward& call) {
  using V = Vec<ScalarOf<T>>;
  const V alpha(call.alpha), shift(call.shift);
  // -0 is what leaves every number as it is when added, 0 included
  Lanes<T> w = broadcast<T>(weight && !per_element ? ScalarOf<T>(*weight) : 1);
  Lanes<T> b = broadcast<T>(bias && !per_element ? ScalarOf<T>(*bias) : -ScalarOf<T>(0));
  const auto step = [&](int64_t i, int64_t count) __attribute__((always_inline)) {
    Lanes<T> x = load<T>(input + i, count);
    if (per_element && weight) {
      w = load<T>(weight + i, count);
    }
    if (per_element && bias) {
      b = load<T>(bias + i, count);
    }
    for (size_t k = 0; k < x.size(); ++k) {
      x[k] = at::vec::fmadd(w[k], F::value(at::vec::fmadd(alpha, x[k], shift)), b[k]);
    }
    store<T>(output + i, x, count, call.bypass_cache);
  };
  int64_t i = 0;
  if (call.bypass_cache) {  // up to where the output is aligned
    const int64_t off = reinterpret_cast<uintptr_t>(output) / sizeof(T) % lanes<T>;
    if (off && n > lanes<T>) {
      step(0, i = lanes<T> - off);
    }
  }
  for (; i + lanes<T> <= n; i += lanes<T>) {
    step(i, lanes<T>);
  }
  if (i < n) {
    step(i, n - i);
  }
}

template <template <class> class F, class T, class P>
void forward(const cpu::Forward& call, int64_t begin, int64_t end) {
  const auto [outer, channels, inner] = call.shape;
  const auto* input = static_cast<const T*>(call.input);
  auto* output = static_cast<T*>(call.output);
  const auto* weight = static_cast<const P*>(call.weight);
  const auto* bias = static_cast<const P*>(call.bias);
  while (begin < end) {
    const int64_t c = begin / inner % channels;
    const P* w = weight ? weight + c : nullptr;
    const P* b = bias ? bias + c : nullptr;
    const int64_t left = inner == 1 ? channels - c : inner - begin % inner;
    const int64_t n = std::min(left, end - begin);
    if (inner == 1) {
      forward_run<F<T>, true>(input + begin, output + begin, w, b, n, call);
    } else {
      forward_run<F<T>, false>(input + begin, output + begin, w, b, n, call);
    }
    begin += n;
  }
  drain(call.bypass_cache);
}

}  // namespace derf::CPU_CAPABILITY
