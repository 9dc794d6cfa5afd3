// Loads and stores: the one place that knows element types, tails and cache policy. Kernels see Vec<Scalar> alone.
#pragma once
#include <algorithm>

#include "../functions/vector.h"

namespace derf::CPU_CAPABILITY {

template <class T>
using ScalarOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// As many elements as fill a register of T: one vector of Scalar, or two where T has 16 bits.
template <class T>
constexpr int lanes = Vec<T>::size();
template <class T>
using Lanes = std::array<Vec<ScalarOf<T>>, lanes<T> / Vec<ScalarOf<T>>::size()>;

template <class T>
inline Lanes<T> broadcast(ScalarOf<T> x) {
  Lanes<T> out;
  out.fill(Vec<ScalarOf<T>>(x));
  return out;
}

inline auto widen(Vec<c10::Half> x) { return at::vec::convert_half_float(x); }
inline auto widen(Vec<c10::BFloat16> x) { return at::vec::convert_bfloat16_float(x); }

// n <= lanes<T> elements at p, of type From (T, or float beside a 16-bit T); what lies past them is 0.
template <class T, class From>
inline Lanes<T> load(const From* p, int64_t n) {
  constexpr int64_t width = Vec<From>::size();
  if constexpr (sizeof(From) == 2) {
    const auto [low, high] = widen(Vec<From>::loadu(p, n));
    return {low, high};
  } else if constexpr (std::tuple_size_v<Lanes<T>> == 1) {
    return {Vec<From>::loadu(p, n)};
  } else {
    return {Vec<From>::loadu(p, std::min(n, width)), Vec<From>::loadu(p + width, std::max<int64_t>(n - width, 0))};
  }
}

template <class T>
inline Vec<T> narrow(const Lanes<T>& values) {
  if constexpr (std::is_same_v<T, c10::Half>) {
    return at::vec::convert_float_half(values[0], values[1]);
  } else if constexpr (std::is_same_v<T, c10::BFloat16>) {
    return at::vec::convert_float_bfloat16(values[0], values[1]);
  } else {
    return values[0];
  }
}

// Writes past the cache where `bypass_cache` is set and p allows it; finish with `drain`.
template <class T>
inline void store(T* p, const Lanes<T>& values, int64_t n, [[maybe_unused]] bool bypass_cache) {
  const Vec<T> out = narrow<T>(values);
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
  if (bypass_cache && n == lanes<T> && reinterpret_cast<uintptr_t>(p) % sizeof(out) == 0) {
    alignas(64) T copy[lanes<T>];  // never in memory: the compiler keeps it in a register
    out.store(copy);
#if defined(CPU_CAPABILITY_AVX512)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), _mm512_load_si512(copy));
#else
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), _mm256_load_si256(reinterpret_cast<const __m256i*>(copy)));
#endif
    return;
  }
#endif
  out.store(p, n);
}

// Makes the writes past the cache visible to other threads.
inline void drain([[maybe_unused]] bool bypass_cache) {
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
  if (bypass_cache) {
    _mm_sfence();
  }
#endif
}

// The first n of all lanes, the rest 0.
template <class T>
inline Lanes<T> keep_first(const Lanes<T>& values, int64_t n) {
  using V = Vec<ScalarOf<T>>;
  Lanes<T> out;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t left = n - int64_t(i) * V::size();
    out[i] = V::set(V(0), values[i], std::clamp<int64_t>(left, 0, V::size()));
  }
  return out;
}

template <class T>
inline double sum(const Lanes<T>& values) {
  using V = Vec<ScalarOf<T>>;
  double total = 0;
  for (const V& v : values) {
    ScalarOf<T> x[V::size()];
    v.store(x);
    for (const ScalarOf<T> each : x) {
      total += each;
    }
  }
  return total;
}

}  // namespace derf::CPU_CAPABILITY
