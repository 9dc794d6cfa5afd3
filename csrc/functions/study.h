// The property studies of the paper's section 3, around any function f, in this order (u = alpha x + shift):
//   u1 = sign(u) max(|u| - dead_zone, 0);  u2 = u1 + input_shift;  v = (1 - linear_mix) f(u2) + linear_mix u;
//   v limited to +-clip;  (v + output_shift) sign
// Where a limit cuts, the slope is torch.clamp's: the limit itself passes the gradient.
// Source: arXiv 2512.10938, section 3.
#pragma once
#include <limits>

namespace derf {

struct Study {
  double dead_zone = 0, input_shift = 0, linear_mix = 0;
  double clip = std::numeric_limits<double>::infinity();
  double output_shift = 0, sign = 1;

  constexpr bool operator==(const Study&) const = default;
  // Whether anything is studied. Loops pass by what follows where nothing is.
  constexpr bool is_active() const { return *this != Study{}; }
};

}  // namespace derf
