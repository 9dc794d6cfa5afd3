// The same text of a function serves three worlds, each with types and elementary operations of its own:
//   CPU_CAPABILITY     vectors of one instruction set            V = Vec<float>, Vec<double>
//   DERF_COMPOSITE     tensors, by PyTorch's own operations      V = at::Tensor
//   neither            a thread of a GPU                         V = float, double
// What all three offer, a and b being >= 0 (or NaN, which all of them pass on):
//   number<V>(c)                        a constant
//   magnitude(u), with_sign_of(a, u)    |u|; a with the sign of u
//   fmadd(x, y, z)                      x y + z
//   at_most(x, limit)                   the smaller one
//   select_greater(a, b, x, y)          x where a > b, else y
//   select_infinite(a, x, y)            x where a is infinite, else y
//   zero_where_zero(x, a)               0 where a is 0, else x
//   square_root(a)
//   divide(x, a)                        x / a; where a > 2^126 it may be 0
//   rough_reciprocal(a)                 1 / a within 2^-21, for slopes; a >= 2^-100, and where a > 2^100 it may be 0
//   divide_by_small(x, a)               x / a, 1 <= a <= 2^10
//   exp_minus(a), one_minus_exp_minus(a), times_exp_minus(x, a)    e^-a, 1 - e^-a, x e^-a, which may be denormal
//   log1p(a), arcsinh(a)
//   arcsinh_to_one(a)                   arcsinh up to 1, and more than 1 beyond
//   inverse_cube_root(a)                0 < a < Inf; finite for 0
//   scaled_arctangent(a)                2/pi atan(a)
//   quarter_sine(a)                     sin(a) for a <= pi/2
//   sine(u), cosine(u)
#pragma once

#if defined(DERF_COMPOSITE)
#include "tensor.h"
#define DERF_WORLD derf::composite
#define DERF_INLINE inline
#else
#include "elementary.h"
#endif
#include "facts.h"

namespace DERF_WORLD {

template <class V>
struct ValueAndSlope {
  V value, slope;
};

}  // namespace DERF_WORLD
