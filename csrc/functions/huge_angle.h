// sin and cos of angles so large that a whole number of pi has no exact parts: rare, and out of the loops' way.
// Included by elementary.h.
#pragma once

#if defined(CPU_CAPABILITY)
#include <cmath>

namespace DERF_WORLD {

// In the lanes that are huge; elsewhere what `moderate` has.
template <bool cosine, class V>
__attribute__((noinline)) V sine_of_huge(V a, V moderate) {
  using Scalar = NumberIn<V>;
  Scalar angle[V::size()], result[V::size()];
  a.store(angle);
  moderate.store(result);
  for (int i = 0; i < V::size(); ++i) {
    if (angle[i] > Scalar(largest_angle<V>)) {
      result[i] = cosine ? std::cos(angle[i]) : std::sin(angle[i]);
    }
  }
  return V::loadu(result);
}

}  // namespace DERF_WORLD

#else

namespace DERF_WORLD {

// The bits of 1/pi behind 64 zeros. (CUDA's own sin keeps such things in local memory.)
DERF_THREAD_TABLE const uint64_t inverse_of_pi[] = {DERF_INVERSE_OF_PI};

// a - n pi, n the nearest whole number (of halves the odd ones: cosine), and whether n (n + 1/2) is odd; a >= 64.
struct Angle {
  double rest;
  bool odd;
};
template <bool cosine>
DERF_THREAD_CALL Angle reduced(double a) {
  const int64_t b = bits(a);
  const auto whole = uint64_t(b & 0xfffffffffffff) | uint64_t(1) << 52;  // a = whole 2^exponent
  const int exponent = int(b >> 52) - 1075;
  // Of 1/pi those bits that make neither multiples of 2 nor less than 2^-138.
  const int first = exponent + 63, word = first / 64, shift = first % 64;
  const auto window = [&](int k) {
    const uint64_t high = inverse_of_pi[word + k] << shift;
    return shift ? high | inverse_of_pi[word + k + 1] >> (64 - shift) : high;
  };
  using Wide = unsigned __int128;
  const Wide low = Wide(whole) * window(2), middle = Wide(whole) * window(1) + uint64_t(low >> 64);
  const uint64_t high = whole * window(0) + uint64_t(middle >> 64);
  Wide turns = Wide(high) << 64 | uint64_t(middle);  // a / pi modulo 2, in units of 2^-127
  constexpr Wide half = Wide(1) << 126;
  turns += cosine ? half : 0;
  const bool odd = (turns + half) >> 127;
  Wide rest = turns - (Wide(odd) << 127);
  const bool negative = rest >> 127;
  rest = negative ? -rest : rest;
  double scale = negative ? -0x1p-63 : 0x1p-63;
  while (!(rest >> 125)) {  // 64 bits of it are to be kept
    rest <<= 1;
    scale *= 0.5;
  }
  return {double(uint64_t(rest >> 64)) * scale * 3.141592653589793116, odd};
}

template <bool cosine, class V>
DERF_THREAD V sine_of_huge(V a, V) {
  if (a > largest_number<V>) {
    return a - a;
  }
  const Angle angle = reduced<cosine>(double(a));
  const V s = sine_polynomial(V(angle.rest));
  return angle.odd ? -s : s;
}

}  // namespace DERF_WORLD
#endif
