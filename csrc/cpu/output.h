// What a forward's loop does with the output: stores it as it is (Whole), or as 8 bits with or without itself (Eight).
//   Output(task, at, stride, channel)   of a run that begins at element `at`; channel: of all elements, or -1
//   unaligned(n)                        elements up to where whole vectors go past the cache; 0 where none do
//   has_many_rows<Applied>              whether loops over several rows at once are worth their compilation
//   stretch                             at most so many elements of each row, then finish(first, end) of them
//   store_row<any_nan>(r, i, first, c, count, y)    elements [i, i + count) of row r, of channels from c on; the
//   stretch
//                                       begins at `first`
#pragma once
#include "../format.h"
#include "parameter_row.h"

namespace derf::CPU_CAPABILITY {

template <class T>
class Whole {
  T* const output_;
  const int64_t stride_;
  const bool bypass_cache_;

 public:
  Whole(const cpu::ForwardTask& task, int64_t at, int64_t stride, int64_t)
      : output_(static_cast<T*>(task.output) + at),
        stride_(stride),
        bypass_cache_(bypasses_cache<T>(task.out_of_cache, task.shape)) {}

  int64_t unaligned(int64_t n) const {
    constexpr int64_t width = Vec<T>::size();
    const int64_t past = bypass_cache_ ? int64_t(reinterpret_cast<uintptr_t>(output_) / sizeof(T) % width) : 0;
    return past && n > chunk_size<T> ? width - past : 0;
  }

  template <class>
  static constexpr bool has_many_rows = true;
  static constexpr int64_t stretch = std::numeric_limits<int64_t>::max();
  struct Waiting {};
  template <bool any_nan>
  inline __attribute__((always_inline)) void store_row(Waiting&, int r, int64_t i, int64_t, int64_t, int64_t count,
                                                       const Chunk<T>& y) const {
    store<any_nan>(output_ + r * stride_ + i, y, count, bypass_cache_);
  }
  template <int rows>
  void finish(const Waiting&, int64_t, int64_t) const {}
};

// x as a floating-point number of 8 bits in the lowest byte of each element.
template <Format f, class Scalar>
inline __attribute__((always_inline)) Bits<Scalar> encoded_float8(Vec<Scalar> x) {
  using V = Vec<Scalar>;
  using F = FloatFormat<f>;
  constexpr int digits = std::numeric_limits<Scalar>::digits - 1, dropped = digits - F::mantissa;
  constexpr int bias = std::numeric_limits<Scalar>::max_exponent - 1;
  const auto sign = bits(x) < 0;
  const V a = magnitude(x), largest(F::largest), smallest_normal(Scalar(1) / (int64_t(1) << (F::bias - 1)));
  const auto is_nan = bits(a) > bits(V(std::numeric_limits<Scalar>::infinity()));
  const V limited = select_greater(a, largest, largest, a);
  const auto whole = bits(limited);
  using Integer = std::conditional_t<sizeof(Scalar) == 8, int64_t, int32_t>;
  constexpr Integer half = (Integer(1) << (dropped - 1)) - 1, rebias = Integer(bias - F::bias) << F::mantissa;
  const auto normal = ((whole + half + ((whole >> dropped) & 1)) >> dropped) - rebias;
  // Denormal numbers have a fixed step: an addition rounds to it, and leaves its multiple in the lowest bits.
  constexpr double step = 1. / (int64_t(1) << (F::bias - 1 + F::mantissa));
  const V magic(Scalar(step * double(int64_t(1) << digits)));
  const auto denormal = bits(limited + magic) - bits(magic);
  const auto is_denormal = bits(smallest_normal) > whole;
  const auto code = (is_denormal & denormal) | (~is_denormal & normal);
  return ((is_nan & 0x7f) | (~is_nan & code)) | (sign & 0x80);
}

// `count` of the lowest bytes of a register, `width` if all.
template <int64_t width, class Bytes>
inline __attribute__((always_inline)) void store_bytes(int8_t* to, const Bytes& bytes, int64_t count) {
  if (count == width) {
    std::memcpy(to, &bytes, width);
  } else {
    std::memcpy(to, &bytes, count);
  }
}

// n numbers, of which whole vectors are there.
template <Format f, class Scalar>
void encode(const Scalar* x, int64_t n, int8_t* to) {
  constexpr int64_t width = Vec<Scalar>::size();
  for (int64_t i = 0; i < n; i += width) {
    const auto code = encoded_float8<f>(Vec<Scalar>::loadu(x + i));
    store_bytes<width>(to + i, lowest_bytes<Scalar>(code), std::min(n - i, width));
  }
}

template <class T>
class Eight {
  int8_t* const data_;
  T* const output_;
  const int64_t stride_;
  const Format format_;
  const ParameterRow<opmath_t<T>> inverse_;
  const bool shared_;  // the inverse of the scale, by all elements of the run
  const Chunk<T> all_;
  const bool bypass_cache_;

 public:
  Eight(const cpu::ForwardTask& task, int64_t at, int64_t stride, int64_t channel)
      : data_(static_cast<int8_t*>(task.quantized) + at),
        output_(task.output ? static_cast<T*>(task.output) + at : nullptr),
        stride_(stride),
        format_(task.format),
        inverse_(task.inverse_scale, task.type, 0),
        shared_(task.inverse_scale.channel_mask == 0 || channel >= 0),
        all_(broadcast<T>(shared_ ? inverse_.template one<T>(std::max<int64_t>(channel, 0)) : 0)),
        bypass_cache_(bypasses_cache<T>(task.out_of_cache, task.shape)) {}

  int64_t unaligned(int64_t) const { return 0; }

  template <class Applied>
  static constexpr bool has_many_rows = !Applied::is_general;
  static constexpr int64_t stretch = 256;
  struct Waiting {  // output / scale, for float8
    alignas(64) opmath_t<T> scaled[rows_per_step][stretch];
  };
  template <bool any_nan>
  inline __attribute__((always_inline)) void store_row(Waiting& waiting, int r, int64_t i, int64_t first, int64_t c,
                                                       int64_t count, const Chunk<T>& y) const {
    if (output_) {
      store<any_nan>(output_ + r * stride_ + i, y, count, bypass_cache_);
    }
    const Chunk<T> inverse = shared_ ? all_ : load<T>(inverse_.at(c), count);
    Chunk<T> x = each([](auto a, auto b) { return a * b; }, y, inverse);
    if (format_ != Format::int8) {
      store_plain<T>(waiting.scaled[r] + (i - first), x, chunk_size<T>);
      return;
    }
    if constexpr (sizeof(T) == 2) {
      to_plain_order<T>(x[0], x[1]);
    }
    constexpr int64_t width = Vec<opmath_t<T>>::size();
    for (int k = 0; k < int(vectors); ++k) {
      const int64_t n = count == chunk_size<T> ? width : part(count, k * width, width);
      store_bytes<width>(data_ + r * stride_ + i + k * width, nearest_int8(x[k]), n);
    }
  }
  // What takes more instructions waits for a stretch: a loop of its own, compiled once for all functions.
  template <int rows>
  void finish(const Waiting& waiting, int64_t first, int64_t end) const {
    for (int r = 0; r < rows; ++r) {
      int8_t* to = data_ + r * stride_ + first;
      if (format_ == Format::e4m3fn) {
        encode<Format::e4m3fn>(waiting.scaled[r], end - first, to);
      } else if (format_ == Format::e5m2) {
        encode<Format::e5m2>(waiting.scaled[r], end - first, to);
      }
    }
  }
};

}  // namespace derf::CPU_CAPABILITY
