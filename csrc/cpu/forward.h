// output = weight * f(alpha * input + shift) + bias, one pass, for a range of elements in the order of memory.
#pragma once
#include "call.h"
#include "lanes.h"

namespace derf::CPU_CAPABILITY {

// Elements [0, n) of `rows` rows, `stride` apart. Those of a row share one channel, or (per_element) have one each;
// weight and bias point at the first of them, and may be null where they are shared.
template <class F, int rows, bool per_element, class T, class P>
inline void forward_run(const T* input, T* output, int64_t stride, const P* weight, const P* bias, int64_t n,
                        const cpu::Forward& call) {
  using V = Vec<ScalarOf<T>>;
  const V alpha = shared_parameter<T>(call.alpha, F::value_unit),
          shift = shared_parameter<T>(call.shift, F::value_unit);
  const bool asks_ahead = call.prefetch, bypass_cache = bypasses_cache<T>(call.out_of_cache, call.shape);
  constexpr bool any_nan = std::is_same_v<P, float>;
  const int64_t ahead = std::max(rows * stride, 4096 / int64_t(sizeof(T)));  // past the rows at hand, a page at least
  const auto parameter = [](const P* p, ScalarOf<T> absent) {
    return broadcast<T>(per_element ? 0 : p ? ScalarOf<T>(*p) : absent);
  };
  // -0 is what leaves every number as it is when added, 0 included
  const Lanes<T> shared_weight = parameter(weight, 1), shared_bias = parameter(bias, -ScalarOf<T>(0));
  const auto step = [&](int64_t i, int64_t count) __attribute__((always_inline)) {
    Block<T, rows> u;
    for (int r = 0; r < rows; ++r) {
      if (asks_ahead) {
        prefetch(input + r * stride + i + ahead);
      }
      set_row(u, r, load<T>(input + r * stride + i, count));
    }
    u = each([&](V x) { return fmadd(alpha, x, shift); }, u);
    const auto f = F::value(u);
    const Lanes<T> w = per_element ? load<T>(weight + i, count) : shared_weight;
    const Lanes<T> b = per_element ? load<T>(bias + i, count) : shared_bias;
    for (int r = 0; r < rows; ++r) {
      const auto affine = [](V y, V each_w, V each_b) { return fmadd(y, each_w, each_b); };
      store<any_nan>(output + r * stride + i, each(affine, row(f, r), w, b), count, bypass_cache);
    }
  };
  int64_t i = 0;
  if (bypass_cache) {  // up to where the output is aligned
    constexpr int64_t width = Vec<T>::size();
    const int64_t past = reinterpret_cast<uintptr_t>(output) / sizeof(T) % width;
    if (past && n > lanes<T>) {
      step(0, i = width - past);
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
  const bool in_rows = call.shape.in_rows();
  const auto* input = static_cast<const T*>(call.input);
  auto* output = static_cast<T*>(call.output);
  const auto* weight = static_cast<const P*>(call.weight);
  const auto* bias = static_cast<const P*>(call.bias);
  int64_t c = begin / inner % channels, within = begin % inner;  // where the next stretch begins
  while (begin < end) {
    const P* w = weight ? weight + c : nullptr;
    const P* b = bias ? bias + c : nullptr;
    int64_t n = std::min(in_rows ? channels - c : inner - within, end - begin);
    if (in_rows && n == channels && end - begin >= rows_at_once * n) {
      forward_run<F<T>, rows_at_once, true>(input + begin, output + begin, n, w, b, n, call);
      n *= rows_at_once;
    } else if (in_rows) {
      forward_run<F<T>, 1, true>(input + begin, output + begin, 0, w, b, n, call);
      c = 0;
    } else {
      forward_run<F<T>, 1, false>(input + begin, output + begin, 0, w, b, n, call);
      c = c + 1 == channels ? 0 : c + 1;
      within = 0;
    }
    begin += n;
  }
  drain(call.out_of_cache);
}

}  // namespace derf::CPU_CAPABILITY
