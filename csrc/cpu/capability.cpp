// Which instruction set's kernels run.
#include "capability.h"

#include <ATen/Version.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#ifdef DERF_HAVE_AVX2
#include <cpuid.h>
#endif

#include <algorithm>
#include <string>

#include "../functions/composite.h"
#include "../operators.h"

namespace derf::cpu {

#ifdef DERF_HAVE_AVX2
namespace {

// Conversions of float16. Clang 14 has no __builtin_cpu_supports("f16c").
bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

}  // namespace
#endif

const std::vector<const Kernels*>& runnable_kernels() {
  static const std::vector<const Kernels*> kernels = [] {
#ifdef DERF_HAVE_NEON
    std::vector<const Kernels*> built{&NEON::kernels};  // all processors have it
#else
    std::vector<const Kernels*> built{&DEFAULT::kernels};
#endif
#ifdef DERF_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
      built.push_back(&AVX2::kernels);
    }
#endif
#ifdef DERF_HAVE_AVX512
    if (built.size() == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      built.push_back(&AVX512::kernels);
    }
#endif
    return built;
  }();
  return kernels;
}

const Kernels& chosen_kernels() {
  static const Kernels& chosen = *[] {
    const auto& runnable = runnable_kernels();
    const std::string best = at::get_cpu_capability();
    const size_t level = best == "AVX512" ? 2 : best == "AVX2" ? 1 : 0;
    return runnable[std::min(level, runnable.size() - 1)];
  }();
  return chosen;
}

}  // namespace derf::cpu

std::string derf::cpu_capability() { return cpu::chosen_kernels().name; }

std::vector<std::string> derf::cpu_capabilities() {
  std::vector<std::string> names;
  for (const cpu::Kernels* kernels : cpu::runnable_kernels()) {
    names.emplace_back(kernels->name);
  }
  return names;
}

void derf::evaluate(const std::string& function, const std::string& capability, const std::string& dtype, uintptr_t u,
                    uintptr_t value, uintptr_t value_in_sums, uintptr_t slope, int64_t count) {
  const Function f = function_of(function);
  TORCH_CHECK_VALUE(count >= 0, "derf: count must not be negative, but is ", count);
  const auto& all = cpu::runnable_kernels();
  const auto kernels = std::find_if(all.begin(), all.end(), [&](const auto* k) { return capability == k->name; });
  TORCH_CHECK_VALUE(kernels != all.end(), "derf: capability must be one of ", c10::Join(", ", cpu_capabilities()),
                    ", but is \"", capability, "\"");
  const auto type = dtype == "float64"    ? std::optional(Type::f64)
                    : dtype == "float32"  ? std::optional(Type::f32)
                    : dtype == "float16"  ? std::optional(Type::f16)
                    : dtype == "bfloat16" ? std::optional(Type::bf16)
                                          : std::nullopt;
  TORCH_CHECK_VALUE(type, "derf: dtype must be float64, float32, float16 or bfloat16, but is \"", dtype, "\"");
  (*kernels)->evaluate({f, *type, reinterpret_cast<const void*>(u), reinterpret_cast<void*>(value),
                        reinterpret_cast<void*>(value_in_sums), reinterpret_cast<void*>(slope), count});
}
