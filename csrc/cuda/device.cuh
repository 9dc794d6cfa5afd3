// What the kernels ask of CUDA beyond the language. For the host that runs their source in tests,
// tests/cuda_on_host/device.h says the same in C++.
#pragma once
#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include <algorithm>

#include "../format.h"
#include "../functions/thread.h"

namespace derf::cuda {

DERF_THREAD float bits_as_float(uint32_t bits) { return __uint_as_float(bits); }
DERF_THREAD float widen(BFloat16 x) { return bits_as_float(uint32_t(x.bits) << 16); }
DERF_THREAD float widen(Half x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

// Rounded to nearest, ties to even; `low` in the lower half of the bits.
DERF_THREAD uint32_t narrow_pair(BFloat16, float low, float high) {
  uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
DERF_THREAD uint32_t narrow_pair(Half, float low, float high) {
  uint32_t y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

// To nearest even within [-128, 127]; NaN gives 0.
DERF_THREAD uint32_t nearest_int8(float x) {
  uint32_t y;
  asm("cvt.rni.sat.s8.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}
DERF_THREAD uint32_t nearest_int8(double x) {
  uint32_t y;
  x = x != x ? 0 : x;  // of a double's NaN the instruction would make -128
  asm("cvt.rni.sat.s8.f64 %0, %1;" : "=r"(y) : "d"(x));
  return y;
}

// Two numbers of 8 bits, rounded as encoded_float8 does; `low` in the lowest byte.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
constexpr bool has_float8_instructions = true;
template <Format f>
DERF_THREAD uint32_t float8_pair(float low, float high) {
  uint16_t y;
  if constexpr (f == Format::e4m3fn) {
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(y) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(y) : "f"(high), "f"(low));
  }
  return y;
}
#else
constexpr bool has_float8_instructions = false;
template <Format>
DERF_THREAD uint32_t float8_pair(float, float) {
  return 0;
}
#endif

DERF_THREAD void write_at_once(uint4* to, uint4 bits) { __stwb(to, bits); }  // a plain store may become four
template <class Packet>
DERF_THREAD void write_at_once(Packet* to, Packet packet) {
  *to = packet;
}

// Not to be fused with an addition.
DERF_THREAD float rounded_product(float a, float b) { return __fmul_rn(a, b); }
DERF_THREAD double rounded_product(double a, double b) { return __dmul_rn(a, b); }

// The sum over a warp, of which all threads take part.
template <class Number>
DERF_THREAD Number sum_of_warp(Number x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    x += __shfl_xor_sync(0xffffffff, x, lanes);
  }
  return x;
}

inline int processors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return std::max(count, 1);
}

// Starts kernel(arguments...) with so many blocks of threads; null, or what went wrong.
template <class... Parameters, class... Arguments>
const char* launch(void (*kernel)(Parameters...), int64_t blocks, uint32_t threads, void* stream,
                   const Arguments&... arguments) {
  if (blocks > INT32_MAX) {
    return "a launch of more than 2^31 - 1 blocks";
  }
  kernel<<<uint32_t(blocks), threads, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
  const cudaError_t status = cudaGetLastError();
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

// Whether the current device runs code that was compiled for its own generation and has let_next_start() and
// wait_for_previous(): code of an older one, compiled once more by the driver, lacks them.
inline bool starts_early(cudaStream_t stream) {
  int device = 0, major = 0, minor = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  bool compiled = false;
  for (int architecture : {__CUDA_ARCH_LIST__}) {
    compiled |= architecture >= 900 && architecture / 100 == major && architecture <= 100 * major + 10 * minor;
  }
  // In a CUDA graph it was tried on 9.0 alone.
  auto capture = cudaStreamCaptureStatusNone;
  return compiled && (major == 9 || (cudaStreamIsCapturing(stream, &capture) == cudaSuccess &&
                                     capture == cudaStreamCaptureStatusNone));
}

// The same, for a kernel that begins with wait_for_previous(): where starts_early(), its blocks may start when all of
// the previous kernel's have called let_next_start(), which spares the time that a start takes.
template <class... Parameters, class... Arguments>
const char* launch_early(void (*kernel)(Parameters...), int64_t blocks, uint32_t threads, void* stream,
                         const Arguments&... arguments) {
  if (blocks > INT32_MAX || !starts_early(static_cast<cudaStream_t>(stream))) {
    return launch(kernel, blocks, threads, stream, arguments...);
  }
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(uint32_t(blocks));
  config.blockDim = dim3(threads);
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &early;
  config.numAttrs = 1;
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, arguments...);
  cudaGetLastError();  // or the next one who asks gets this error too
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}
DERF_THREAD void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
// Until the previous kernel has ended and what it wrote can be read.
DERF_THREAD void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace derf::cuda
#endif
