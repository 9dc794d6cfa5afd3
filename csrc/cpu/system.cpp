#include "system.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string_view>

namespace derf::cpu {

// As Linux tells it; sysconf of older glibc adds up all of a processor's.
int64_t cache_bytes() {
  static const int64_t bytes = [] {
    int64_t kibibytes = 0;
    char unit = 0;
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
    if (file >> kibibytes >> unit && unit == 'K' && kibibytes > 0) {
      return kibibytes << 10;
    }
    long found = -1;
#ifdef _SC_LEVEL3_CACHE_SIZE
    found = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return found > 0 ? int64_t(found) : int64_t(32) << 20;
  }();
  return bytes;
}

void ask_for_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#ifdef MADV_HUGEPAGE
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
#endif
}

}  // namespace derf::cpu
