// Polynomials of packs of vectors: one for all numbers, or for each piece of them its own, picked from a table.
#pragma once
#include "vector.h"

namespace derf::CPU_CAPABILITY {

constexpr bool is_power_of_two(double x) {
  while (x < 1) {
    x *= 2;
  }
  return x == 1;
}

// The polynomial of the piece that a lies in, a whole number of widths away, at the distance from there.
template <class Pieces, class Scalar, size_t n>
inline __attribute__((always_inline)) Pack<Scalar, n> on_pieces(const Pack<Scalar, n>& a) {
  using V = Vec<Scalar>;
  constexpr Scalar width = Pieces::width;
  Pack<Scalar, n> piece, t;
  constexpr Scalar origin = round_magic<Scalar> * (is_power_of_two(width) ? width : 1);
  const V magic(origin);
  if constexpr (is_power_of_two(width)) {  // additions have execution ports of their own
    piece = each([&](V x) { return x + magic; }, a);
    t = each([&](V x, V k) { return x - (k - magic); }, a, piece);
  } else {
    piece = each([&](V x) { return fmadd(x, V(1 / width), magic); }, a);
    t = each([&](V x, V k) { return fmadd(k - magic, V(-width), x); }, a, piece);
  }
  const auto coefficient = [&](int d, V k) { return lookup(Pieces::table[d], k, origin); };
  auto p = each([&](V k) { return coefficient(Pieces::degree, k); }, piece);
#pragma GCC unroll 16
  for (int d = Pieces::degree - 1; d >= 0; --d) {
    p = each([&](V sum, V x, V k) { return fmadd(sum, x, coefficient(d, k)); }, p, t, piece);
  }
  return p;
}

// coefficients[first] + coefficients[first + step] x + coefficients[first + 2 step] x^2 + ...
template <int first = 0, int step = 1, class Scalar, int size, size_t n>
inline __attribute__((always_inline)) Pack<Scalar, n> polynomial(const Scalar (&coefficients)[size],
                                                                 const Pack<Scalar, n>& x) {
  using V = Vec<Scalar>;
  constexpr int last = first + (size - 1 - first) / step * step;
  auto p = broadcast_pack<Scalar, n>(coefficients[last]);
#pragma GCC unroll 32
  for (int d = last - step; d >= first; d -= step) {
    p = each([&](V sum, V each_x) { return fmadd(sum, each_x, V(coefficients[d])); }, p, x);
  }
  return p;
}

// The same for a and v = a^2: two chains side by side, of the even and of the odd powers.
template <class Scalar, int size, size_t n>
inline __attribute__((always_inline)) Pack<Scalar, n> polynomial(const Scalar (&coefficients)[size],
                                                                 const Pack<Scalar, n>& a, const Pack<Scalar, n>& v) {
  using V = Vec<Scalar>;
  return each([](V odd, V x, V even) { return fmadd(odd, x, even); }, polynomial<1, 2>(coefficients, v), a,
              polynomial<0, 2>(coefficients, v));
}

template <class T>
constexpr bool is_double = std::is_same_v<T, double>;

}  // namespace derf::CPU_CAPABILITY
