// Memory between two pages that no one may touch: a kernel that reads or writes past a tensor ends the process.
#pragma once
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace on_host {

struct Allocation {
  int64_t id;  // counted through the process
  uintptr_t begin;
  size_t bytes;
};
// Those alive, by where they begin.
inline std::map<uintptr_t, Allocation> allocations;
inline std::mutex allocations_mutex;

inline const Allocation* allocation_of(uintptr_t address) {
  const auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) {
    return nullptr;
  }
  const Allocation& found = std::prev(after)->second;
  return address < found.begin + found.bytes ? &found : nullptr;
}

class GuardedAllocator final : public c10::Allocator {
 public:
  bool at_end = true;  // tensors end at the page behind them; else they begin at the page before

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) {
      return {nullptr, c10::Device(c10::kCPU)};
    }
    const size_t page = getpagesize(), inner = (bytes + page - 1) / page * page;
    void* all = mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(all != MAP_FAILED, "no memory for ", bytes, " bytes between guards");
    char* usable = static_cast<char*>(all) + page;
    TORCH_CHECK(mprotect(usable, inner, PROT_READ | PROT_WRITE) == 0);
    char* data = at_end ? usable + inner - bytes : usable;
    const std::lock_guard lock(allocations_mutex);
    const auto begin = reinterpret_cast<uintptr_t>(data);
    allocations[begin] = {made_++, begin, bytes};
    return {data, new Region{all, inner + 2 * page, begin}, &release, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  struct Region {
    void* all;
    size_t bytes;
    uintptr_t begin;
  };
  static void release(void* context) {
    const std::unique_ptr<Region> region(static_cast<Region*>(context));
    const std::lock_guard lock(allocations_mutex);
    allocations.erase(region->begin);
    munmap(region->all, region->bytes);
  }

  int64_t made_ = 0;
};

// From now on every new tensor of the process is guarded.
inline void guard_allocations(bool at_end) {
  static GuardedAllocator allocator;
  allocator.at_end = at_end;
  c10::SetCPUAllocator(&allocator, /*priority=*/255);
}

}  // namespace on_host
