// AVX-512 for a host that has AVX2 alone: the intrinsics by SIMDe, and by hand those that it lacks or is lax about. To
// be included before all that uses them. What is missing here the compiler names: "inlining failed in call to".
//
// Memory is touched as by the instructions: masked ones leave the other lanes alone, and where the address of an
// aligned one is not, the process ends.
#pragma once
#include <immintrin.h>  // before SIMDe, which has macros of the same names
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
// ATen/cpu/vec names functions of Sleef, which no kernel calls.
#define __AVX512F__ 1
#include <sleef.h>
#undef __AVX512F__

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace on_host {

template <class Vector, class Lane>
using LanesOf = std::array<Lane, sizeof(Vector) / sizeof(Lane)>;

// Of two halves, the lower one first.
template <class Vector, class Half>
Half half(Vector x, int which) {
  return std::bit_cast<std::array<Half, 2>>(x)[which];
}
template <class To, class From, class Half, class Op>
To by_halves(From x, const Op& op) {
  const auto [low, high] = std::bit_cast<std::array<Half, 2>>(x);
  return std::bit_cast<To>(std::array{op(low), op(high)});
}

template <class Vector, class Lane>
Vector load(Vector others, uint64_t mask, const void* from) {
  auto lanes = std::bit_cast<LanesOf<Vector, Lane>>(others);
  for (size_t i = 0; i < lanes.size(); ++i) {
    if (mask >> i & 1) {
      __builtin_memcpy(&lanes[i], static_cast<const Lane*>(from) + i, sizeof(Lane));
    }
  }
  return std::bit_cast<Vector>(lanes);
}

template <class Vector, class Lane>
void store(void* to, uint64_t mask, Vector x) {
  const auto lanes = std::bit_cast<LanesOf<Vector, Lane>>(x);
  for (size_t i = 0; i < lanes.size(); ++i) {
    if (mask >> i & 1) {
      __builtin_memcpy(static_cast<Lane*>(to) + i, &lanes[i], sizeof(Lane));
    }
  }
}

// To nearest even; what an int32_t cannot hold gives the smallest of them.
template <class To, class Lane, class From>
To whole_numbers(uint64_t mask, From x) {
  const auto lanes = std::bit_cast<LanesOf<From, Lane>>(x);
  std::array<int32_t, lanes.size()> result{};
  for (size_t i = 0; i < lanes.size(); ++i) {
    const double nearest = std::nearbyint(double(lanes[i]));
    const bool fits = nearest >= -2147483648. && nearest <= 2147483647.;
    result[i] = !(mask >> i & 1) ? 0 : fits ? int32_t(nearest) : INT32_MIN;
  }
  return std::bit_cast<To>(result);
}

template <class Lane>
__m128i lowest_bytes(__m512i x) {
  const auto lanes = std::bit_cast<LanesOf<__m512i, Lane>>(x);
  std::array<int8_t, 16> bytes{};
  for (size_t i = 0; i < lanes.size(); ++i) {
    bytes[i] = int8_t(lanes[i]);
  }
  return std::bit_cast<__m128i>(bytes);
}

template <class Vector>
void check_alignment(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(Vector)) {
    std::fputs("an AVX-512 instruction for aligned memory, but the address is not\n", stderr);
    std::abort();
  }
}

template <class Vector>
Vector load_aligned(const void* from) {
  check_alignment<Vector>(from);
  Vector x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

template <class Vector>
void store_aligned(void* to, Vector x) {
  check_alignment<Vector>(to);
  __builtin_memcpy(to, &x, sizeof x);
}

inline int64_t streamed = 0;  // stores past the cache, by any thread: not exact, but 0 if there was none
template <class Vector>
void stream(void* to, Vector x) {
  __atomic_store_n(&streamed, streamed + 1, __ATOMIC_RELAXED);
  store_aligned<Vector>(to, x);
}

template <class To, class ToLane, class From, class FromLane>
To convert(From x) {
  const auto from = std::bit_cast<LanesOf<From, FromLane>>(x);
  LanesOf<To, ToLane> to;
  static_assert(to.size() == from.size());
  for (size_t i = 0; i < to.size(); ++i) {
    to[i] = static_cast<ToLane>(from[i]);
  }
  return std::bit_cast<To>(to);
}

// Two quarters of a, then two of b, by pairs of bits.
template <class Vector>
Vector shuffle_quarters(Vector a, Vector b, int which) {
  const auto x = std::bit_cast<std::array<__m128i, 4>>(a), y = std::bit_cast<std::array<__m128i, 4>>(b);
  return std::bit_cast<Vector>(std::array{x[which & 3], x[which >> 2 & 3], y[which >> 4 & 3], y[which >> 6 & 3]});
}

// x = 2^n m: n and m, for x > 0.
inline __m512 exponent(__m512 x) {
  auto lanes = std::bit_cast<LanesOf<__m512, float>>(x);
  for (float& lane : lanes) {
    lane = __builtin_logbf(lane);
  }
  return std::bit_cast<__m512>(lanes);
}
inline __m512 mantissa(__m512 x) {
  auto lanes = std::bit_cast<LanesOf<__m512, float>>(x);
  for (float& lane : lanes) {
    lane = lane > __FLT_MAX__ ? 1 : lane == lane ? __builtin_ldexpf(lane, -__builtin_ilogbf(lane)) : lane;
  }
  return std::bit_cast<__m512>(lanes);
}

// The instruction errs by up to 2^-14: here it does so by as much, up or down as the bits have it.
template <class Vector, class Lane>
Vector reciprocal(Vector x) {
  auto lanes = std::bit_cast<LanesOf<Vector, Lane>>(x);
  for (Lane& lane : lanes) {
    const auto bits = std::bit_cast<std::array<uint32_t, sizeof(Lane) / 4>>(lane);
    const bool up = (bits.front() + bits.back()) * 2654435761u >> 31;
    lane = Lane(1 / double(lane) * (1 + (up ? 0x1p-14 : -0x1p-14)));
  }
  return std::bit_cast<Vector>(lanes);
}

template <class Lane>
uint64_t compare(__m512i a, __m512i b, int predicate) {
  const auto x = std::bit_cast<LanesOf<__m512i, Lane>>(a), y = std::bit_cast<LanesOf<__m512i, Lane>>(b);
  uint64_t mask = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const bool found[] = {x[i] == y[i], x[i] < y[i], x[i] <= y[i], false};
    mask |= uint64_t(found[predicate & 3] != bool(predicate & 4)) << i;
  }
  return mask;
}

}  // namespace on_host

// SIMDe has some of them, more or fewer by its version.
#undef _mm512_load_ps
#undef _mm512_store_ps
#undef _mm512_stream_ps
#undef _mm512_load_pd
#undef _mm512_store_pd
#undef _mm512_stream_pd
#undef _mm512_load_si512
#undef _mm512_store_si512
#undef _mm512_stream_si512
#undef _mm512_mask_loadu_ps
#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_mask_loadu_pd
#undef _mm512_maskz_loadu_pd
#undef _mm512_mask_storeu_pd
#undef _mm512_mask_loadu_epi8
#undef _mm512_maskz_loadu_epi8
#undef _mm512_mask_storeu_epi8
#undef _mm512_mask_loadu_epi16
#undef _mm512_maskz_loadu_epi16
#undef _mm512_mask_storeu_epi16
#undef _mm512_mask_loadu_epi32
#undef _mm512_maskz_loadu_epi32
#undef _mm512_mask_storeu_epi32
#undef _mm512_mask_loadu_epi64
#undef _mm512_maskz_loadu_epi64
#undef _mm512_mask_storeu_epi64
#undef _mm512_cmp_epi8_mask
#undef _mm512_cmpneq_epi8_mask
#undef _mm512_cmp_epi16_mask
#undef _mm512_cmpeq_epi16_mask
#undef _mm512_cmplt_epi16_mask
#undef _mm512_cmpneq_epi16_mask
#undef _mm512_cmpgt_epi16_mask
#undef _mm512_cmp_epi32_mask
#undef _mm512_cmplt_epi32_mask
#undef _mm512_cmpneq_epi32_mask
#undef _mm512_cmp_epi64_mask
#undef _mm512_cmplt_epi64_mask
#undef _mm512_cmpneq_epi64_mask
#undef _mm512_cmp_epu8_mask
#undef _mm512_cmpeq_epu8_mask
#undef _mm512_cmpneq_epu8_mask
#undef _mm512_cmplt_epu32_mask
#undef _mm512_cmpgt_epu32_mask
#undef _mm512_cvtepu8_epi16
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi32_epi64
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepi32_pd
#undef _mm512_cvtepi64_pd
#undef _mm512_cvtepi64_ps
#undef _mm512_cvtpd_ps
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepi64_epi8
#undef _mm512_maskz_cvtps_epi32
#undef _mm512_maskz_cvtpd_epi32
#undef _mm512_extracti32x8_epi32
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#undef _mm512_getexp_ps
#undef _mm512_getmant_ps
#undef _mm512_rcp14_ps
#undef _mm512_rcp14_pd
#undef _mm512_sqrt_ps
#undef _mm512_sqrt_pd
#undef _mm512_cvtss_f32
#undef _mm512_shuffle_f32x4
#undef _mm512_shuffle_f64x2
#undef _mm512_shuffle_i32x4
#undef _mm512_shuffle_i64x2

#define _mm512_maskz_cvtps_epi32(k, x) on_host::whole_numbers<__m512i, float>(k, x)
#define _mm512_maskz_cvtpd_epi32(k, x) on_host::whole_numbers<__m256i, double>(k, x)
#define _mm512_cvtepi32_epi8(x) on_host::lowest_bytes<int32_t>(x)
#define _mm512_cvtepi64_epi8(x) on_host::lowest_bytes<int64_t>(x)
#define _mm512_getexp_ps(x) on_host::exponent(x)
#define _mm512_getmant_ps(x, interval, sign) on_host::mantissa(x)
#define _mm512_rcp14_ps(x) on_host::reciprocal<__m512, float>(x)
#define _mm512_rcp14_pd(x) on_host::reciprocal<__m512d, double>(x)
#define _mm512_load_ps(p) on_host::load_aligned<__m512>(p)
#define _mm512_store_ps(p, x) on_host::store_aligned<__m512>(p, x)
#define _mm512_stream_ps(p, x) on_host::stream<__m512>(p, x)
#define _mm512_load_pd(p) on_host::load_aligned<__m512d>(p)
#define _mm512_store_pd(p, x) on_host::store_aligned<__m512d>(p, x)
#define _mm512_stream_pd(p, x) on_host::stream<__m512d>(p, x)
#define _mm512_load_si512(p) on_host::load_aligned<__m512i>(p)
#define _mm512_store_si512(p, x) on_host::store_aligned<__m512i>(p, x)
#define _mm512_stream_si512(p, x) on_host::stream<__m512i>(p, x)
#define _mm512_mask_loadu_ps(x, k, p) on_host::load<__m512, float>(x, k, p)
#define _mm512_maskz_loadu_ps(k, p) on_host::load<__m512, float>(__m512{}, k, p)
#define _mm512_mask_storeu_ps(p, k, x) on_host::store<__m512, float>(p, k, x)
#define _mm512_mask_loadu_pd(x, k, p) on_host::load<__m512d, double>(x, k, p)
#define _mm512_maskz_loadu_pd(k, p) on_host::load<__m512d, double>(__m512d{}, k, p)
#define _mm512_mask_storeu_pd(p, k, x) on_host::store<__m512d, double>(p, k, x)
#define _mm512_mask_loadu_epi8(x, k, p) on_host::load<__m512i, int8_t>(x, k, p)
#define _mm512_maskz_loadu_epi8(k, p) on_host::load<__m512i, int8_t>(__m512i{}, k, p)
#define _mm512_mask_storeu_epi8(p, k, x) on_host::store<__m512i, int8_t>(p, k, x)
#define _mm512_mask_loadu_epi16(x, k, p) on_host::load<__m512i, int16_t>(x, k, p)
#define _mm512_maskz_loadu_epi16(k, p) on_host::load<__m512i, int16_t>(__m512i{}, k, p)
#define _mm512_mask_storeu_epi16(p, k, x) on_host::store<__m512i, int16_t>(p, k, x)
#define _mm512_mask_loadu_epi32(x, k, p) on_host::load<__m512i, int32_t>(x, k, p)
#define _mm512_maskz_loadu_epi32(k, p) on_host::load<__m512i, int32_t>(__m512i{}, k, p)
#define _mm512_mask_storeu_epi32(p, k, x) on_host::store<__m512i, int32_t>(p, k, x)
#define _mm512_mask_loadu_epi64(x, k, p) on_host::load<__m512i, int64_t>(x, k, p)
#define _mm512_maskz_loadu_epi64(k, p) on_host::load<__m512i, int64_t>(__m512i{}, k, p)
#define _mm512_mask_storeu_epi64(p, k, x) on_host::store<__m512i, int64_t>(p, k, x)
#define _mm512_cmp_epi8_mask(a, b, predicate) on_host::compare<int8_t>(a, b, predicate)
#define _mm512_cmpneq_epi8_mask(a, b) on_host::compare<int8_t>(a, b, 4)
#define _mm512_cmp_epi16_mask(a, b, predicate) on_host::compare<int16_t>(a, b, predicate)
#define _mm512_cmpeq_epi16_mask(a, b) on_host::compare<int16_t>(a, b, 0)
#define _mm512_cmplt_epi16_mask(a, b) on_host::compare<int16_t>(a, b, 1)
#define _mm512_cmpneq_epi16_mask(a, b) on_host::compare<int16_t>(a, b, 4)
#define _mm512_cmpgt_epi16_mask(a, b) on_host::compare<int16_t>(a, b, 6)
#define _mm512_cmp_epi32_mask(a, b, predicate) on_host::compare<int32_t>(a, b, predicate)
#define _mm512_cmplt_epi32_mask(a, b) on_host::compare<int32_t>(a, b, 1)
#define _mm512_cmpneq_epi32_mask(a, b) on_host::compare<int32_t>(a, b, 4)
#define _mm512_cmp_epi64_mask(a, b, predicate) on_host::compare<int64_t>(a, b, predicate)
#define _mm512_cmplt_epi64_mask(a, b) on_host::compare<int64_t>(a, b, 1)
#define _mm512_cmpneq_epi64_mask(a, b) on_host::compare<int64_t>(a, b, 4)
#define _mm512_cmp_epu8_mask(a, b, predicate) on_host::compare<uint8_t>(a, b, predicate)
#define _mm512_cmpeq_epu8_mask(a, b) on_host::compare<uint8_t>(a, b, 0)
#define _mm512_cmpneq_epu8_mask(a, b) on_host::compare<uint8_t>(a, b, 4)
#define _mm512_cmplt_epu32_mask(a, b) on_host::compare<uint32_t>(a, b, 1)
#define _mm512_cmpgt_epu32_mask(a, b) on_host::compare<uint32_t>(a, b, 6)
#define _mm512_cvtepu8_epi16(x) on_host::convert<__m512i, int16_t, __m256i, uint8_t>(x)
#define _mm512_cvtepu8_epi32(x) on_host::convert<__m512i, int32_t, __m128i, uint8_t>(x)
#define _mm512_cvtepi8_epi32(x) on_host::convert<__m512i, int32_t, __m128i, int8_t>(x)
#define _mm512_cvtepu16_epi32(x) on_host::convert<__m512i, int32_t, __m256i, uint16_t>(x)
#define _mm512_cvtepi32_epi64(x) on_host::convert<__m512i, int64_t, __m256i, int32_t>(x)
#define _mm512_cvtepi32_ps(x) on_host::convert<__m512, float, __m512i, int32_t>(x)
#define _mm512_cvtepi32_pd(x) on_host::convert<__m512d, double, __m256i, int32_t>(x)
#define _mm512_cvtepi64_pd(x) on_host::convert<__m512d, double, __m512i, int64_t>(x)
#define _mm512_cvtepi64_ps(x) on_host::convert<__m256, float, __m512i, int64_t>(x)
#define _mm512_cvtpd_ps(x) on_host::convert<__m256, float, __m512d, double>(x)
#define _mm512_cvtepi32_epi8(x) on_host::convert<__m128i, int8_t, __m512i, int32_t>(x)
#define _mm512_extracti32x8_epi32(x, i) on_host::half<__m512i, __m256i>(x, i)
#define _mm512_cvtph_ps(x) on_host::by_halves<__m512, __m256i, __m128i>(x, [](auto y) { return _mm256_cvtph_ps(y); })
#define _mm512_cvtps_ph(x, how) \
  on_host::by_halves<__m256i, __m512, __m256>(x, [](auto y) { return _mm256_cvtps_ph(y, how); })
#define _mm512_sqrt_ps(x) on_host::by_halves<__m512, __m512, __m256>(x, [](auto y) { return _mm256_sqrt_ps(y); })
#define _mm512_sqrt_pd(x) on_host::by_halves<__m512d, __m512d, __m256d>(x, [](auto y) { return _mm256_sqrt_pd(y); })
#define _mm512_cvtss_f32(x) _mm256_cvtss_f32(on_host::half<__m512, __m256>(x, 0))
#define _mm512_shuffle_f32x4(a, b, which) on_host::shuffle_quarters<__m512>(a, b, which)
#define _mm512_shuffle_f64x2(a, b, which) on_host::shuffle_quarters<__m512d>(a, b, which)
#define _mm512_shuffle_i32x4(a, b, which) on_host::shuffle_quarters<__m512i>(a, b, which)
#define _mm512_shuffle_i64x2(a, b, which) on_host::shuffle_quarters<__m512i>(a, b, which)
