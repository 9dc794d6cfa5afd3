// What a function says of itself, beside computing.
#pragma once

namespace derf {

struct Facts {
  const char* formula;  // a Python expression in u, of abs sign sqrt exp log erf tanh atan sin asinh clip pi e
  double bound;         // the supremum of |f|
  double float32_ulp;   // the value is within so many, for every finite u
  bool monotone;
  const char* source;
};

inline constexpr double no_bound = __builtin_huge_val();
inline constexpr const char paper[] = "arXiv 2512.10938";

}  // namespace derf
