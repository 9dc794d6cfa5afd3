// What a result may be: an interval, NaN, or either. Arithmetic in a type of a wider range or more digits than the one
// that is tested; `rounded` is where the tested type comes in.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

namespace fuzz {

// The rounding errors of a floating-point type.
struct Precision {
  double unit;      // the largest relative error of one rounding
  double smallest;  // the largest absolute error below the normal numbers
  double largest;   // the largest finite number
};
inline constexpr Precision float64{0x1p-53, 0x1p-1074, 0x1.fffffffffffffp1023};
inline constexpr Precision float32{0x1p-24, 0x1p-149, 0x1.fffffep127};
inline constexpr Precision float16{0x1p-11, 0x1p-24, 65504};
inline constexpr Precision bfloat16{0x1p-8, 0x1p-133, 0x1.fep127};

template <class Real>
struct Range {
  static constexpr Real inf = std::numeric_limits<Real>::infinity();
  Real low, high;
  bool number = true, nan = false;  // whether it may be one

  Range(Real low_, Real high_) : low(low_), high(high_) {}
  Range(Real x = 0) : low(x), high(x), number(x == x), nan(x != x) {}  // NOLINT: a number is a range
  static Range anything() {
    Range all(-inf, inf);
    all.nan = true;
    return all;
  }

  bool has(Real x) const { return number && low <= x && x <= high; }
  bool has_infinity() const { return number && (low == -inf || high == inf); }
  bool is_infinity() const { return number && low == high && std::isinf(low); }
  Real magnitude() const { return number ? std::max(std::fabs(low), std::fabs(high)) : 0; }
  // Of the ends that are finite: what an error of the others adds to lies beyond them anyway.
  Real finite_magnitude() const {
    const auto of = [](Real x) { return std::isfinite(x) ? std::fabs(x) : 0; };
    return number ? std::max(of(low), of(high)) : 0;
  }

  // With 0 as well.
  Range or_zero() const {
    Range r(number ? std::min<Real>(low, 0) : 0, number ? std::max<Real>(high, 0) : 0);
    r.nan = nan;
    return r;
  }
  Range or_nan(bool also) const {
    Range r = *this;
    r.nan = r.nan || also;
    return r;
  }
  Range widened(Real error) const {
    Range r = *this;
    r.low = std::isinf(low) ? low : low - error;
    r.high = std::isinf(high) ? high : high + error;
    return r;
  }
  // What an operation in that type, or several of them, may give.
  Range rounded(const Precision& p, Real times = 1) const {
    Range r = *this;
    const auto error = [&](Real x) { return times * (Real(p.unit) * std::fabs(x) + Real(p.smallest)); };
    r.low = std::isinf(low) ? low : low - error(low);
    r.high = std::isinf(high) ? high : high + error(high);
    // What is beyond may be infinite; and it may be the largest number, as where a value is kept finite.
    if (r.high > Real(p.largest) * (1 - Real(p.unit))) {
      r.high = inf;
      r.low = std::min(r.low, Real(p.largest));
    }
    if (r.low < -Real(p.largest) * (1 - Real(p.unit))) {
      r.low = -inf;
      r.high = std::max(r.high, -Real(p.largest));
    }
    return r;
  }

  friend Range operator-(const Range& a) {
    Range r = a;
    r.low = -a.high;
    r.high = -a.low;
    return r;
  }
  friend Range operator+(const Range& a, const Range& b) {
    Range r(a.low + b.low, a.high + b.high);
    const bool opposite = (a.high == inf && b.low == -inf) || (a.low == -inf && b.high == inf);
    r.low = r.low == r.low ? r.low : -inf;
    r.high = r.high == r.high ? r.high : inf;
    r.nan = a.nan || b.nan || opposite;
    r.number = a.number && b.number && !(opposite && a.low == a.high && b.low == b.high);
    return r;
  }
  friend Range operator*(const Range& a, const Range& b) {
    // A product of ends is NaN for 0 and infinity. 0 times what is finite beside that infinity is 0.
    const bool finite = !a.is_infinity() && !b.is_infinity();
    Range r(inf, -inf);
    for (const Real product : {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high}) {
      if (product == product || finite) {
        const Real x = product == product ? product : 0;
        r.low = std::min(r.low, x);
        r.high = std::max(r.high, x);
      }
    }
    r.nan = a.nan || b.nan || (a.has(0) && b.has_infinity()) || (b.has(0) && a.has_infinity());
    r.number = a.number && b.number && r.low <= r.high;
    return r;
  }
};

// A sum in any order, parts of it in the given type.
template <class Real>
class Sum {
  Range<Real> total_;
  Real magnitudes_ = 0;
  int64_t terms_ = 0;

 public:
  void add(const Range<Real>& term) {
    total_ = total_ + term;
    magnitudes_ += term.finite_magnitude();
    ++terms_;
  }
  Range<Real> result(const Precision& p) const {
    if (magnitudes_ > Real(p.largest) / 2) {  // a part of it may overflow where the whole does not
      return Range<Real>::anything();
    }
    return total_.widened(Real(terms_ + 4) * (Real(p.unit) * magnitudes_ + Real(p.smallest)));
  }
};

}  // namespace fuzz
