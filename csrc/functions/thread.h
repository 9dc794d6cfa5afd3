// What a function needs beyond arithmetic, for one number: a CUDA thread's, or the host's that runs a kernel's source
// in tests (tests/cuda_on_host/device.h stands in for CUDA there). The vectors' side is vector.h.
#pragma once
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define DERF_THREAD __device__ __forceinline__
#else
#define DERF_THREAD inline
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

}  // namespace cuda
}  // namespace derf
