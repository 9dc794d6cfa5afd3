// The family: all functions f of y = weight f(alpha x + shift) + bias. A new one is a file beside this and its two lines
// here: the #include and the entry of the list.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "facts.h"

#define DERF_FUNCTIONS(X)         \
  X(erf, Erf)                     \
  X(tanh, Tanh)                   \
  X(arctan, Arctan)               \
  X(isru, Isru)                   \
  X(relsign, Relsign)             \
  X(smoothsign, Smoothsign)       \
  X(cubsign, Cubsign)             \
  X(expsign, Expsign)             \
  X(exproot, Exproot)             \
  X(saturlog, Saturlog)           \
  X(satursin, Satursin)           \
  X(linear_clip, LinearClip)      \
  X(logsign_clip, LogsignClip)    \
  X(logquad_clip, LogquadClip)    \
  X(power23_clip, Power23Clip)    \
  X(arcsinh_clip, ArcsinhClip)    \
  X(linear, Linear)               \
  X(logsign, Logsign)             \
  X(logquad, Logquad)             \
  X(power23, Power23)             \
  X(arcsinh, Arcsinh)             \
  X(sin, Sin)                     \
  X(dampx, Dampx)                 \
  X(dampexp, Dampexp)

#if defined(CPU_CAPABILITY) || defined(DERF_COMPOSITE) || defined(DERF_THREADS)
#include "arcsinh.h"
#include "arctan.h"
#include "clip.h"
#include "cubsign.h"
#include "dampexp.h"
#include "dampx.h"
#include "erf.h"
#include "exproot.h"
#include "expsign.h"
#include "isru.h"
#include "linear.h"
#include "logquad.h"
#include "logsign.h"
#include "power23.h"
#include "relsign.h"
#include "satursin.h"
#include "saturlog.h"
#include "sin.h"
#include "smoothsign.h"
#include "tanh.h"
#endif

namespace derf {

enum class Function : int {
#define DERF_ENTRY(name, Type) name,
  DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
};

inline constexpr const char* function_names[] = {
#define DERF_ENTRY(name, Type) #name,
    DERF_FUNCTIONS(DERF_ENTRY)
#undef DERF_ENTRY
};
inline constexpr int function_count = sizeof(function_names) / sizeof(function_names[0]);

inline const char* name_of(Function f) { return function_names[static_cast<int>(f)]; }

inline std::optional<Function> function_named(std::string_view name) {
  for (int i = 0; i < function_count; ++i) {
    if (name == function_names[i]) {
      return static_cast<Function>(i);
    }
  }
  return {};
}

// For messages: "erf, tanh, ...".
inline std::string all_function_names() {
  std::string all;
  for (const char* name : function_names) {
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return all;
}

}  // namespace derf
