#include "system.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include <cstdlib>
#include <string_view>

namespace derf::cpu {
namespace {

// As the system tells it, or 0.
int64_t reported_cache_bytes() {
#if defined(__linux__)  // sysconf of older glibc adds up all of a processor's
  int64_t kibibytes = 0;
  char unit = 0;
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
  if (file >> kibibytes >> unit && unit == 'K' && kibibytes > 0) {
    return kibibytes << 10;
  }
#ifdef _SC_LEVEL3_CACHE_SIZE
  return sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
#elif defined(__APPLE__)  // a cluster of fast cores shares the second level, and programs are not told of a third
  for (const char* name : {"hw.perflevel0.l2cachesize", "hw.l3cachesize", "hw.l2cachesize"}) {
    int64_t bytes = 0;
    size_t size = sizeof bytes;
    if (sysctlbyname(name, &bytes, &size, nullptr, 0) == 0 && bytes > 0) {
      return bytes;
    }
  }
#endif
  return 0;
}

}  // namespace

int64_t cache_bytes() {
  static const int64_t bytes = [] {
    const int64_t told = reported_cache_bytes();
    return told > 0 ? told : int64_t(32) << 20;
  }();
  return bytes;
}

#ifdef MADV_HUGEPAGE
void ask_for_huge_pages(void* data, size_t bytes) {
  static const bool wanted = [] {
    const char* setting = std::getenv("DERF_HUGE_PAGES");
    return !setting || std::string_view(setting) != "0";
  }();
  constexpr uintptr_t page = uintptr_t(2) << 20;
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes) / page * page;
  if (wanted && first < last) {  // advice: nothing is lost where it is refused
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
}
#else
void ask_for_huge_pages(void*, size_t) {}
#endif

}  // namespace derf::cpu
