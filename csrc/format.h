// The 8-bit formats, for CPU vectors and CUDA threads. No header of torch.
#pragma once
#include <cstdint>

namespace derf {

enum class Format : int32_t { int8, e4m3fn, e5m2 };

// A floating-point format of `mantissa` bits: exponent bias and largest number.
template <Format f>
struct FloatFormat;
template <>
struct FloatFormat<Format::e4m3fn> {
  static constexpr int mantissa = 3, bias = 7;
  static constexpr float largest = 448;
};
template <>
struct FloatFormat<Format::e5m2> {
  static constexpr int mantissa = 2, bias = 15;
  static constexpr float largest = 57344;
};

}  // namespace derf
