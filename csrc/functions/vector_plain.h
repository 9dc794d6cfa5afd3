// vector.h for any processor, SSE2 on x86-64.
#pragma once
#include "vector_native.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cmath>

namespace derf::CPU_CAPABILITY {

template <class Scalar>
inline Vec<Scalar> fmadd(Vec<Scalar> a, Vec<Scalar> b, Vec<Scalar> c) {
#ifdef FP_FAST_FMAF
  for (int i = 0; i < a.size(); ++i) {
    c.v[i] = std::fma(a.v[i], b.v[i], c.v[i]);
  }
  return c;
#else
  return a * b + c;
#endif
}
template <class Scalar>
inline Vec<Scalar> fnmadd(Vec<Scalar> a, Vec<Scalar> b, Vec<Scalar> c) {
  return fmadd(Vec<Scalar>(-a.v), b, c);
}

template <class Scalar>
inline bool any_greater(Vec<Scalar> a, Vec<Scalar> b) {
  bool any = false;
  for (int i = 0; i < a.size(); ++i) {
    any |= a.v[i] > b.v[i];
  }
  return any;
}

template <class Scalar>
inline Vec<Scalar> square_root(Vec<Scalar> x) {
#if defined(__SSE2__)  // a loop over the lanes would call the C library for what is negative
  if constexpr (sizeof(Scalar) == 8) {
    return Vec<Scalar>(_mm_sqrt_pd(x.v));
  } else {
    return Vec<Scalar>(_mm_sqrt_ps(x.v));
  }
#else
  for (int i = 0; i < x.size(); ++i) {
    x.v[i] = std::sqrt(x.v[i]);
  }
  return x;
#endif
}

template <class Scalar>
inline Vec<Scalar> reciprocal_of_normal(Vec<Scalar> x) {
  return Vec<Scalar>(1) / x;
}

template <int parts, class Scalar>
inline Vec<Scalar> times_power_of_two(Vec<Scalar> x, Vec<Scalar> rounded) {
  static_assert(parts == 1);
  return from_bits<Scalar>(bits(x) + (bits(rounded) << (sizeof(Scalar) == 8 ? 52 : 23)));
}

inline std::tuple<Vec<float>, Vec<float>> halves_as_float(Vec<c10::BFloat16> x, auto convert) {
  Native<uint16_t, 8> low, high;
  std::memcpy(&low, &x.v, sizeof(low));
  std::memcpy(&high, reinterpret_cast<const char*>(&x.v) + sizeof(low), sizeof(high));
  return {convert(__builtin_convertvector(low, Native<int32_t>)),
          convert(__builtin_convertvector(high, Native<int32_t>))};
}
inline std::tuple<Vec<float>, Vec<float>> widen(Vec<c10::BFloat16> x) {
  return halves_as_float(x, [](Native<int32_t> h) { return from_bits<float>(h << 16); });
}
inline std::tuple<Vec<float>, Vec<float>> widen(Vec<c10::Half> x) {
  return halves_as_float({x.v}, [](Native<int32_t> h) {
    const Native<int32_t> m = h & 0x7fff, sign = (h & 0x8000) << 16;
    const Native<int32_t> normal = (m << 13) + (112 << 23), special = (m << 13) | 0x7f800000;
    const Native<int32_t> denormal = bits(from_bits<float>(m | 0x3f000000) - Vec<float>(0.5f));
    return from_bits<float>(sign | (m < 0x400 ? denormal : m >= 0x7c00 ? special : normal));
  });
}

template <class T, bool any_nan>
inline Vec<T> narrow(Vec<float> low, Vec<float> high) {
  const auto convert = [](Vec<float> x) {
    const Native<int32_t> b = bits(x), m = b & INT32_MAX;
    if constexpr (std::is_same_v<T, c10::Half>) {
      const Native<int32_t> normal = (m - (112 << 23) + 0xfff + ((m >> 13) & 1)) >> 13;
      const Native<int32_t> denormal = bits(from_bits<float>(m) + Vec<float>(0.5f)) - 0x3f000000;
      const Native<int32_t> infinity = Native<int32_t>{} + 0x7c00, nan = infinity + 0x200;
      const Native<int32_t> finite = m < 0x38800000 ? denormal : normal;                          // 2^-14
      const Native<int32_t> result = m > 0x7f800000 ? nan : m >= 0x477ff000 ? infinity : finite;  // 65520
      return __builtin_convertvector(result | ((b >> 16) & 0x8000), Native<uint16_t, 8>);
    } else {
      const Native<int32_t> rounded = b + 0x7fff + ((b >> 16) & 1), nan = Native<int32_t>{} + 0x7fc00000;
      return __builtin_convertvector((m > 0x7f800000 ? nan : rounded) >> 16, Native<uint16_t, 8>);
    }
  };
  const Native<uint16_t, 8> converted[] = {convert(low), convert(high)};
  Vec<T> out;
  std::memcpy(&out.v, converted, sizeof(out.v));
  return out;
}

template <class Scalar>
inline auto nearest_int8(Vec<Scalar> x) {
  constexpr Scalar magic = sizeof(Scalar) == 8 ? Scalar(0x1.8p52) : Scalar(0x1.8p23);
  const auto is_number = x.v == x.v;
  const Vec<Scalar> low(-128), high(127), at_least = select_greater(low, x, low, x);
  const Vec<Scalar> rounded = select_greater(at_least, high, high, at_least) + Vec<Scalar>(magic);
  return __builtin_convertvector(bits(rounded) & is_number, Native<int8_t, Vec<Scalar>::size()>);
}
template <class Scalar>
inline auto lowest_bytes(Bits<Scalar> x) {
  return __builtin_convertvector(x, Native<int8_t, Vec<Scalar>::size()>);
}

}  // namespace derf::CPU_CAPABILITY
