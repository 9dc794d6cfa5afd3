// What a forward's kernel does with the output: stores it as it is (Whole), or as 8 bits with or without itself
// (Eight). Both give, for a thread's column, Output: store(row's offset, numbers), advance.
#pragma once
#include "../format.h"
#include "memory.cuh"

namespace derf::cuda {

template <class T>
struct Whole {
  static constexpr bool is_whole = true;

  template <int width>
  struct Output {
    T* to;

    DERF_THREAD Output(const Forward& call, const ThreadTile& tile, const Channels&)
        : to(static_cast<T*>(call.output) + tile.offset) {}
    DERF_THREAD void store(int64_t at, const Numbers<T, width>& y) const { cuda::store<T, width>(to + at, y); }
    DERF_THREAD void advance(int64_t by) { to += by; }
  };
};

// x as a floating-point number of 8 bits: to nearest even, saturated, NaN as NaN.
template <Format f, class Number>
DERF_THREAD uint32_t encoded_float8(Number x) {
  using F = FloatFormat<f>;
  using Integer = std::conditional_t<sizeof(Number) == 8, int64_t, int32_t>;
  constexpr int digits = sizeof(Number) == 8 ? 52 : 23, dropped = digits - F::mantissa;
  constexpr int bias = sizeof(Number) == 8 ? 1023 : 127;
  const uint32_t sign = std::signbit(x) ? 0x80 : 0;
  const Number a = std::fabs(x);
  const Number limited = a > Number(F::largest) ? Number(F::largest) : a;
  constexpr Number smallest_normal = Number(1) / (int64_t(1) << (F::bias - 1));
  uint32_t code;
  if (limited <
      smallest_normal) {  // a fixed step: an addition rounds to it, and leaves its multiple in the lowest bits
    constexpr Number step = smallest_normal / (1 << F::mantissa), magic = step * Number(int64_t(1) << digits);
    code = uint32_t(__builtin_bit_cast(Integer, limited + magic) - __builtin_bit_cast(Integer, magic));
  } else {
    const auto whole = __builtin_bit_cast(Integer, limited);
    constexpr Integer half = (Integer(1) << (dropped - 1)) - 1;
    code = uint32_t((whole + half + ((whole >> dropped) & 1)) >> dropped) - ((bias - F::bias) << F::mantissa);
  }
  return (x != x ? 0x7f : code) | sign;
}

template <class T>
struct Eight {
  static constexpr bool is_whole = false;

  template <int width>
  class Output {
    struct alignas(width) Bytes {
      uint8_t element[width];
    };
    Bytes* data_;
    T* output_;
    Format format_;
    opmath_t<T> inverse_[width];  // of the scale

    template <class Encode>
    DERF_THREAD void put(int64_t at, const Numbers<T, width>& y, const Encode& encode) const {
      Bytes bytes;
#pragma unroll
      for (int i = 0; i < width; ++i) {
        bytes.element[i] = uint8_t(encode(rounded_product(y[i], inverse_[i])));
      }
      data_[at / width] = bytes;
    }
    // By pairs where there is an instruction for two.
    template <Format f>
    DERF_THREAD void put_float8(int64_t at, const Numbers<T, width>& y) const {
      if constexpr (width > 1 && sizeof(opmath_t<T>) == 4 && has_float8_instructions) {
        Bytes bytes;
#pragma unroll
        for (int i = 0; i < width; i += 2) {
          const uint32_t two =
              float8_pair<f>(rounded_product(y[i], inverse_[i]), rounded_product(y[i + 1], inverse_[i + 1]));
          bytes.element[i] = uint8_t(two);
          bytes.element[i + 1] = uint8_t(two >> 8);
        }
        data_[at / width] = bytes;
      } else {
        put(at, y, [](opmath_t<T> x) { return encoded_float8<f>(x); });
      }
    }

   public:
    DERF_THREAD Output(const Forward& call, const ThreadTile& tile, const Channels& of)
        : data_(reinterpret_cast<Bytes*>(static_cast<uint8_t*>(call.quantized.data) + tile.offset)),
          output_(call.output ? static_cast<T*>(call.output) + tile.offset : nullptr),
          format_(call.quantized.format) {
      if (call.quantized.per_channel) {
        of.take(call.quantized.scale, inverse_);
      } else {
#pragma unroll
        for (auto& each : inverse_) {
          each = *call.quantized.scale;
        }
      }
#pragma unroll
      for (auto& each : inverse_) {
        each = 1 / each;
      }
    }
    DERF_THREAD void store(int64_t at, const Numbers<T, width>& y) const {
      if (output_) {
        cuda::store<T, width>(output_ + at, y);
      }
      if (format_ == Format::int8) {
        put(at, y, [](opmath_t<T> x) { return nearest_int8(x); });
      } else if (format_ == Format::e4m3fn) {
        put_float8<Format::e4m3fn>(at, y);
      } else {
        put_float8<Format::e5m2>(at, y);
      }
    }
    DERF_THREAD void advance(int64_t by) {
      data_ += by / width;
      output_ = output_ ? output_ + by : output_;
    }
  };
};

}  // namespace derf::cuda
