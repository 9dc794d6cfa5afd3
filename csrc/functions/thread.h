// What a function needs beyond arithmetic, for one number: a CUDA thread's, or the host's that runs a kernel's source
// in tests (tests/cuda_on_host/device.h stands in for CUDA there). The vectors' side is vector.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
#define DERF_THREAD __device__ __forceinline__
#define DERF_THREAD_CALL static __device__ __noinline__  // rare, and large
#define DERF_THREAD_TABLE static __constant__
#else
#define DERF_THREAD inline
#define DERF_THREAD_CALL inline
#define DERF_THREAD_TABLE static
#endif

namespace derf {

// 16-bit types as the kernels see them: bits in memory, float in registers.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

namespace cuda {

#if defined(__CUDACC__)
// 2^x with a relative error below 2^-22, by one instruction; results below 2^-126 are 0.
DERF_THREAD float exp2_approximately(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1/x and 1/sqrt(x) with relative errors below 2^-22.9, by one instruction; results below 2^-126 are 0.
DERF_THREAD float reciprocal_approximately(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// Polynomial::polynomial at x, lowest coefficient first. (Constants of the host are none on the device: hence a
// recursion, not a loop.)
template <class Polynomial, int lowest = 0>
DERF_THREAD float evaluate(float x) {
  constexpr float coefficient = Polynomial::polynomial[lowest];
  if constexpr (lowest == Polynomial::degree) {
    return coefficient;
  } else {
    return std::fma(evaluate<Polynomial, lowest + 1>(x), x, coefficient);
  }
}

// The names that vector.h has, for one number.
DERF_THREAD float fmadd(float a, float b, float c) { return std::fma(a, b, c); }
DERF_THREAD double fmadd(double a, double b, double c) { return std::fma(a, b, c); }
DERF_THREAD float fnmadd(float a, float b, float c) { return std::fma(-a, b, c); }
DERF_THREAD double fnmadd(double a, double b, double c) { return std::fma(-a, b, c); }

template <class Number>
using Bits = std::conditional_t<sizeof(Number) == 8, int64_t, int32_t>;
template <class Number>
DERF_THREAD Bits<Number> bits(Number x) {
  return __builtin_bit_cast(Bits<Number>, x);
}
template <class Number>
DERF_THREAD Number from_bits(Bits<Number> x) {
  return __builtin_bit_cast(Number, x);
}
template <class Number>
DERF_THREAD Bits<Number> shifted_right(Bits<Number> x, int count) {
  return Bits<Number>(std::make_unsigned_t<Bits<Number>>(x) >> count);
}

template <class Number>
DERF_THREAD Number magnitude(Number x) {
  return std::fabs(x);
}
template <class Number>
DERF_THREAD Number with_sign_of(Number x, Number sign) {
  return from_bits<Number>(bits(x) ^ (bits(sign) & bits(Number(-0.))));
}
template <class Number>
DERF_THREAD Number at_most(Number x, Number limit) {
  return limit < x ? limit : x;
}
template <class Number>
DERF_THREAD Number select_greater(Number a, Number b, Number x, Number y) {
  return a > b ? x : y;
}
template <class Number>
DERF_THREAD bool any_greater(Number a, Number b) {
  return a > b;
}
template <class Number>
DERF_THREAD Number zero_where_zero(Number x, Number a) {
  return a == 0 ? 0 : x;
}
template <int parts, class Number>
DERF_THREAD Number times_power_of_two(Number x, Number rounded) {
  using Unsigned = std::make_unsigned_t<Bits<Number>>;
  return from_bits<Number>(bits(x) + Bits<Number>(Unsigned(bits(rounded)) << (sizeof(Number) == 8 ? 52 : 23)));
}

template <class Number>
DERF_THREAD Number square_root(Number x) {
  return std::sqrt(x);
}
// Where y > 2^126 it may be 0.
DERF_THREAD float divide(float x, float y) { return x * reciprocal_approximately(y); }
DERF_THREAD double divide(double x, double y) { return x / y; }

}  // namespace cuda
}  // namespace derf
