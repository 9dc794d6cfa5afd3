// Vectors of one instruction set, and what a function needs of them beyond arithmetic.
// Everything that is compiled once per instruction set stands in derf::CPU_CAPABILITY (DEFAULT, NEON, AVX2 or AVX512),
// lest the linker put AVX-512 code where every processor runs it.
//
// Each vector_*.h has, for Scalar float and double:
//   Vec<Scalar>                        size(), loadu(p[, n]), store(p[, n]), + - *; n < size() elements, the rest 0
//   fmadd(a, b, c), fnmadd(a, b, c)    c + a b and c - a b
//   magnitude(x)                       |x|
//   at_most(x, limit)                  the smaller one; NaN where x is NaN. limit is a number, or a vector of them
//   limited(x, limit)                  x within [-limit, limit]; NaN where x is NaN (where there are tables)
//   number_at_most(x, limit)           for x >= 0 the smaller one; the limit where x is NaN (where there are tables)
//   with_sign_of(x, sign)              x, its sign changed where `sign` is negative
//   select_greater(a, b, x, y)         x where a > b, else y
//   any_greater(a, b)                  whether a > b anywhere
//   square_root(x)                     rounded correctly
//   reciprocal_of_normal(x)            within 2^-22 (double: 2^-52), where x and 1/x are normal numbers
//   exponent_of(y), mantissa_of(y)     of a number y >= 1 (where there are tables)
//   lookup(table, rounded)             table[k], k the whole number in the lowest bits, modulo the table's size; a
//   table
//                                      of one entry, or of as many as a register has lanes
//   lookup(table, rounded, origin)     the same where rounded = origin + k units of origin's last place, or is NaN
//   times_power_of_two<parts>(x, rounded)  x * 2^(n / parts), n as above, x from a table of `parts` entries that has
//                                      n's remainder already; x and the result normal
//   Bits<Scalar>, bits(x), from_bits<Scalar>(x)  whole numbers in the place of a vector, with the operators of C++
//   nearest_int8(x)                    each to nearest even, saturated; 0 for NaN; in the lowest bytes of a register
//   lowest_bytes<Scalar>(bits)         the lowest byte of each element, likewise
//   LaneMask<Scalar>, not_equal(x, from), select_or_zero(alive, x)  which lanes differ from a number, and x there, 0
//   elsewhere
// and, for the types of 16 bits, Vec<T> to load and store, and
//   widen(Vec<T>)                      two Vec<float>, in an order of its own
//   to_order_of<T>(low, high), to_plain_order<T>(low, high)
//   narrow<T, any_nan>(low, high)      to nearest, ties to even. A NaN of float32 may have all bits set, and rounding
//                                      would carry over them: such a one is to be excluded, or `any_nan` to be said
//   stream(p, x)                       a store that leaves the cache as it is; p is aligned to a vector
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <tuple>
#include <type_traits>

#if defined(CPU_CAPABILITY_AVX512)
#include "vector_avx512.h"
#elif defined(CPU_CAPABILITY_AVX2)
#include "vector_avx2.h"
#elif defined(CPU_CAPABILITY_NEON)
#include "vector_neon.h"
#else
#include "vector_plain.h"
#endif

namespace derf::CPU_CAPABILITY {

#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
// The bits of a vector, as vector_native.h has them: the compiler's own vectors of whole numbers.
template <class Element, int bytes>
struct NativeVector {
  typedef Element type __attribute__((vector_size(bytes)));
};
template <class Scalar>
using Bits =
    typename NativeVector<std::conditional_t<sizeof(Scalar) == 8, int64_t, int32_t>, sizeof(Vec<Scalar>)>::type;
template <class Scalar>
inline __attribute__((always_inline)) Bits<Scalar> bits(Vec<Scalar> x) {
  return std::bit_cast<Bits<Scalar>>(x);
}
template <class Scalar>
inline __attribute__((always_inline)) Vec<Scalar> from_bits(Bits<Scalar> x) {
  return std::bit_cast<Vec<Scalar>>(x);
}
#endif

// Several vectors that go through a formula side by side: a processor looks only so far ahead, and a polynomial is one
// long chain of dependent steps.
#if !defined(CPU_CAPABILITY_NEON)
template <class Element, size_t n>
using Several = std::array<Element, n>;
#endif
template <class Scalar, size_t n>
using Pack = Several<Vec<Scalar>, n>;

template <class Scalar, size_t n>
inline Pack<Scalar, n> broadcast_pack(Scalar x) {
  Pack<Scalar, n> out;
  out.fill(Vec<Scalar>(x));
  return out;
}

// op on the first vectors of all arguments, on the second ones, ...
template <class Op, class First, size_t n, class... Others>
inline __attribute__((always_inline)) auto each(const Op& op, const Several<First, n>& first,
                                                const Several<Others, n>&... others) {
#if defined(CPU_CAPABILITY_NEON)
  using Results = Several<decltype(op(first[0], others[0]...)), n>;
  if constexpr (n == 1) {
    return Results{op(first.only, others.only...)};
  } else {
    return Results{each(op, first.low, others.low...), each(op, first.high, others.high...)};
  }
#else
  Several<decltype(op(first[0], others[0]...)), n> out;
#pragma GCC unroll 4
  for (size_t i = 0; i < n; ++i) {
    out[i] = op(first[i], others[i]...);
  }
  return out;
#endif
}

#if !defined(CPU_CAPABILITY_NEON)
template <class Scalar, size_t entries>
inline __attribute__((always_inline)) Vec<Scalar> lookup(const Scalar (&table)[entries], Vec<Scalar> rounded, Scalar) {
  return lookup(table, rounded);
}
#endif

// x + round_magic has the nearest whole number to x in its lowest bits, for |x| < 2^22 (float) or 2^51 (double).
template <class Scalar>
constexpr Scalar round_magic = sizeof(Scalar) == 8 ? Scalar(0x1.8p52) : Scalar(0x1.8p23);

}  // namespace derf::CPU_CAPABILITY
