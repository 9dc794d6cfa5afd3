// vector.h for Arm of 64 bits, all of whose processors have NEON with fused multiply-add.
#pragma once
#include <arm_neon.h>

#include "vector_native.h"

namespace derf::CPU_CAPABILITY {

inline Vec<float> fmadd(Vec<float> a, Vec<float> b, Vec<float> c) { return vfmaq_f32(c.v, a.v, b.v); }
inline Vec<double> fmadd(Vec<double> a, Vec<double> b, Vec<double> c) { return vfmaq_f64(c.v, a.v, b.v); }
inline Vec<float> fnmadd(Vec<float> a, Vec<float> b, Vec<float> c) { return vfmsq_f32(c.v, a.v, b.v); }
inline Vec<double> fnmadd(Vec<double> a, Vec<double> b, Vec<double> c) { return vfmsq_f64(c.v, a.v, b.v); }

inline Vec<float> magnitude(Vec<float> x) { return vabsq_f32(x.v); }
inline Vec<double> magnitude(Vec<double> x) { return vabsq_f64(x.v); }

inline Vec<float> at_most(Vec<float> x, Vec<float> limit) { return vminq_f32(x.v, limit.v); }
inline Vec<double> at_most(Vec<double> x, Vec<double> limit) { return vminq_f64(x.v, limit.v); }
inline Vec<float> at_most(Vec<float> x, float limit) { return vminq_f32(x.v, vdupq_n_f32(limit)); }
inline Vec<double> at_most(Vec<double> x, double limit) { return vminq_f64(x.v, vdupq_n_f64(limit)); }

inline Vec<float> number_at_most(Vec<float> x, float limit) {  // positive floats are ordered as their bits are
  return vreinterpretq_f32_u32(vminq_u32(vreinterpretq_u32_f32(x.v), vreinterpretq_u32_f32(vdupq_n_f32(limit))));
}

inline Vec<float> limited(Vec<float> x, float limit) {
  return vmaxq_f32(vminq_f32(x.v, vdupq_n_f32(limit)), vdupq_n_f32(-limit));
}

inline bool any_greater(Vec<float> a, Vec<float> b) { return vmaxvq_u32(vcgtq_f32(a.v, b.v)) != 0; }
inline bool any_greater(Vec<double> a, Vec<double> b) {
  return vmaxvq_u32(vreinterpretq_u32_u64(vcgtq_f64(a.v, b.v))) != 0;
}

inline Vec<float> square_root(Vec<float> x) { return vsqrtq_f32(x.v); }
inline Vec<double> square_root(Vec<double> x) { return vsqrtq_f64(x.v); }

// From 8 bits on, each step doubles them.
inline Vec<float> reciprocal_of_normal(Vec<float> x) {
  float32x4_t guess = vrecpeq_f32(x.v);
  guess = vmulq_f32(guess, vrecpsq_f32(x.v, guess));
  return vmulq_f32(guess, vrecpsq_f32(x.v, guess));
}
inline Vec<double> reciprocal_of_normal(Vec<double> x) { return Vec<double>(1) / x; }

// y = 2^n m, 1 <= m < 2, y being 1 at least: n, 128 where y is infinite, and m.
constexpr int pieces_in_register = 8;  // in two of them
inline Vec<float> exponent_of(Vec<float> y) {
  return vcvtq_f32_u32(vsubq_u32(vshrq_n_u32(vreinterpretq_u32_f32(y.v), 23), vdupq_n_u32(127)));
}
inline Vec<float> mantissa_of(Vec<float> y) {
  const uint32x4_t mantissa = vdupq_n_u32(0x7fffff);
  return vbslq_f32(mantissa, y.v, vdupq_n_f32(1));
}

// The bytes of an entry are those from four times its number on.
inline Vec<float> lookup(const float (&table)[8], Vec<float> rounded) {
  const uint32x4_t k = vandq_u32(vreinterpretq_u32_f32(rounded.v), vdupq_n_u32(7));
  const uint32x4_t index = vmlaq_u32(vdupq_n_u32(0x03020100), k, vdupq_n_u32(0x04040404));
  const uint8x16x2_t entries = {vreinterpretq_u8_f32(vld1q_f32(table)), vreinterpretq_u8_f32(vld1q_f32(table + 4))};
  return vreinterpretq_f32_u8(vqtbl2q_u8(entries, vreinterpretq_u8_u32(index)));
}

template <int parts>
inline Vec<float> times_power_of_two(Vec<float> x, Vec<float> rounded) {
  static_assert(parts == 1 || parts == 8);
  return from_bits<float>(bits(x) + (bits(rounded) << (parts == 1 ? 23 : 20)));
}
template <int parts>
inline Vec<double> times_power_of_two(Vec<double> x, Vec<double> rounded) {
  static_assert(parts == 1);
  return from_bits<double>(bits(x) + (bits(rounded) << 52));
}

inline std::tuple<Vec<float>, Vec<float>> widen(Vec<c10::BFloat16> x) {  // a shift would have fewer execution ports
  const uint16x8_t zero = vdupq_n_u16(0);
  return {vreinterpretq_f32_u16(vzip1q_u16(zero, x.v)), vreinterpretq_f32_u16(vzip2q_u16(zero, x.v))};
}
inline std::tuple<Vec<float>, Vec<float>> widen(Vec<c10::Half> x) {
  const float16x8_t halves = vreinterpretq_f16_u16(x.v);
  return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}

template <class T, bool any_nan>
inline Vec<T> narrow(Vec<float> low, Vec<float> high) {
  if constexpr (std::is_same_v<T, c10::Half>) {
    return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(low.v), high.v));
  } else {  // up where the lower half is more than a half, or is one and the upper half is odd
    const uint16x8_t first = vreinterpretq_u16_f32(low.v), second = vreinterpretq_u16_f32(high.v);
    const uint16x8_t lower = vuzp1q_u16(first, second), upper = vuzp2q_u16(first, second);
    const uint16x8_t up = vcgtq_u16(vorrq_u16(lower, vandq_u16(upper, vdupq_n_u16(1))), vdupq_n_u16(0x8000));
    const uint16x8_t rounded = vsubq_u16(upper, up);
    if constexpr (any_nan) {
      const uint32x4_t low_is_number = vceqq_f32(low.v, low.v), high_is_number = vceqq_f32(high.v, high.v);
      const uint16x8_t is_number =
          vuzp1q_u16(vreinterpretq_u16_u32(low_is_number), vreinterpretq_u16_u32(high_is_number));
      return vbslq_u16(is_number, rounded, vdupq_n_u16(0x7fc0));
    } else {
      return rounded;
    }
  }
}

inline int8x8_t narrowed(int32x4_t x) { return vqmovn_s16(vcombine_s16(vqmovn_s32(x), vdup_n_s16(0))); }
inline int8x8_t nearest_int8(Vec<float> x) { return narrowed(vcvtnq_s32_f32(x.v)); }  // saturates, and gives 0 for NaN
inline int8x8_t nearest_int8(Vec<double> x) {
  return narrowed(vcombine_s32(vqmovn_s64(vcvtnq_s64_f64(x.v)), vdup_n_s32(0)));
}
template <class Scalar>
inline auto lowest_bytes(Bits<Scalar> x) {
  return __builtin_convertvector(x, Native<int8_t, Vec<Scalar>::size()>);
}

}  // namespace derf::CPU_CAPABILITY
