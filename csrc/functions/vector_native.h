// What vector_plain.h and vector_neon.h share: vectors of 16 bytes by the compiler's own vector types. (at::vec's of
// the default capability are arrays, and loops over them stay scalar.)
#pragma once
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <bit>
#include <cstring>

namespace derf::CPU_CAPABILITY {

template <class Element, int bytes>
struct NativeVector {
  typedef Element type __attribute__((vector_size(bytes)));
};
template <class Element, int bytes = 16>
using Native = typename NativeVector<Element, bytes>::type;

// Stored bits of a 16-bit type, or numbers.
template <class Scalar>
struct Vec {
  using Element = std::conditional_t<sizeof(Scalar) == 2, uint16_t, Scalar>;
  Native<Element> v;

  static constexpr int size() { return 16 / sizeof(Scalar); }

  Vec() = default;
  Vec(Native<Element> native) : v(native) {}
  Vec(Element x) {
    for (int i = 0; i < size(); ++i) {
      v[i] = x;
    }
  }

  static Vec loadu(const Scalar* p, int64_t n = size()) {
    Vec x{Native<Element>{}};
    std::memcpy(&x.v, p, n == size() ? sizeof(x.v) : n * sizeof(Scalar));
    return x;
  }
  void store(Scalar* p, int64_t n = size()) const { std::memcpy(p, &v, n == size() ? sizeof(v) : n * sizeof(Scalar)); }

  friend Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  friend Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  friend Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  friend Vec operator/(Vec a, Vec b) { return a.v / b.v; }
};

template <class Scalar>
using Bits = Native<std::conditional_t<sizeof(Scalar) == 8, int64_t, int32_t>>;
template <class Scalar>
inline Bits<Scalar> bits(Vec<Scalar> x) {
  return std::bit_cast<Bits<Scalar>>(x.v);
}
template <class Scalar>
inline Vec<Scalar> from_bits(Bits<Scalar> x) {
  return std::bit_cast<Native<Scalar>>(x);
}
template <class Scalar>
inline Vec<Scalar> magnitude(Vec<Scalar> x) {
  return from_bits<Scalar>(bits(x) & ~bits(Vec<Scalar>(Scalar(-0.))));
}

template <class Scalar>
inline Vec<Scalar> select_greater(Vec<Scalar> a, Vec<Scalar> b, Vec<Scalar> x, Vec<Scalar> y) {
  return Vec<Scalar>(a.v > b.v ? x.v : y.v);
}

template <class Scalar>
inline Vec<Scalar> at_most(Vec<Scalar> x, Vec<Scalar> limit) {
  return Vec<Scalar>(limit.v < x.v ? limit.v : x.v);
}
template <class Scalar>
inline Vec<Scalar> at_most(Vec<Scalar> x, Scalar limit) {
  return at_most(x, Vec<Scalar>(limit));
}

template <class Scalar>
inline Vec<Scalar> with_sign_of(Vec<Scalar> x, Vec<Scalar> sign) {
  return from_bits<Scalar>(bits(x) ^ (bits(sign) & bits(Vec<Scalar>(Scalar(-0.)))));
}

template <class Scalar>
inline Vec<Scalar> lookup(const Scalar (&table)[1], Vec<Scalar>) {
  return Vec<Scalar>(table[0]);
}

template <class Scalar>
struct LaneMask {
  Bits<Scalar> bits;
};
template <class Scalar>
inline LaneMask<Scalar> not_equal(Vec<Scalar> x, Scalar from) {
  return {Bits<Scalar>(x.v != Vec<Scalar>(from).v)};
}
template <class Scalar>
inline Vec<Scalar> select_or_zero(LaneMask<Scalar> alive, Vec<Scalar> x) {
  return from_bits<Scalar>(bits(x) & alive.bits);
}

template <class T>
inline void to_order_of(Vec<float>&, Vec<float>&) {}
template <class T>
inline void to_plain_order(Vec<float>&, Vec<float>&) {}

template <class T>
inline void stream(T* p, Vec<T> x) {
  x.store(p);
}
inline void drain_streams() {}

}  // namespace derf::CPU_CAPABILITY
