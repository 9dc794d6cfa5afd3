#include "recorder.h"

#include <link.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <unordered_map>

#include "device.h"
#include "guarded_allocator.h"

namespace on_host {
namespace {

// The variables of this library: what the kernels declare __shared__ is there.
struct Variables {
  uintptr_t begin = 0, end = 0;

  Variables() {
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* to) {
          const auto inside = reinterpret_cast<uintptr_t>(&recorder);
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& segment = info->dlpi_phdr[i];
            const uintptr_t first = info->dlpi_addr + segment.p_vaddr, last = first + segment.p_memsz;
            if (segment.p_type == PT_LOAD && first <= inside && inside < last) {
              *static_cast<Variables*>(to) = Variables(first, last);
            }
          }
          return 0;
        },
        this);
  }
  Variables(uintptr_t first, uintptr_t last) : begin(first), end(last) {}
};

template <class T>
bool holds(const T& variable, uintptr_t address) {
  const auto begin = reinterpret_cast<uintptr_t>(&variable);
  return begin <= address && address < begin + sizeof(T);
}

bool is_shared(uintptr_t address) {
  static const Variables variables;
  return variables.begin <= address && address < variables.end && !holds(threadIdx, address) &&
         !holds(blockIdx, address) && !holds(blockDim, address) && !holds(block, address) &&
         !holds(settings, address) && !holds(recorder, address);
}

// The cycles that a shared memory instruction takes, in multiples of what its bytes need: threads that together ask for
// 128 bytes go at once, and those that ask one bank for different words wait for each other.
template <class Events>
int64_t shared_cycles(const Events& threads) {
  const int bytes = threads[0]->bytes, at_once = warp_size * bank_size / std::max(bytes, bank_size);
  std::map<int, std::set<uintptr_t>> words;  // of each part of the warp
  for (const auto* event : threads) {
    for (int at = 0; at < bytes; at += bank_size) {
      words[event->lane / at_once].insert((event->address + at) / bank_size);
    }
  }
  int64_t worst = 1;
  for (const auto& [part, of_part] : words) {
    int64_t of_bank[banks] = {};
    for (const uintptr_t word : of_part) {
      worst = std::max(worst, ++of_bank[word % banks]);
    }
  }
  return worst;
}

}  // namespace

void Recorder::begin_launch(const char* kernel, int64_t blocks, int64_t threads) {
  if (enabled) {
    launches_.push_back({kernel, blocks, threads, {}, {}, {}});
    events_.resize(threads);
  }
}

void Recorder::access(const void* place, const void* address, int bytes, bool write) {
  if (enabled && running) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    if (allocation_of(at) || is_shared(at)) {
      events_[threadIdx.x].push_back({place, at, bytes, int(threadIdx.x % warp_size), write});
    }
  }
}

void Recorder::add_instruction(const std::vector<const Event*>& threads,
                               std::map<std::pair<int64_t, bool>, std::vector<int64_t>>& of_block) {
  Launch& launch = launches_.back();
  const Allocation* allocation = allocation_of(threads[0]->address);
  if (!allocation) {
    const int64_t cycles = shared_cycles(threads);
    ++launch.shared.instructions;
    launch.shared.conflicts += cycles - 1;
    launch.shared.worst = std::max(launch.shared.worst, cycles);
    return;
  }
  Buffer& buffer =
      launch.buffers.try_emplace(allocation->id, Buffer{allocation->begin, int64_t(allocation->bytes), {}, {}})
          .first->second;
  std::vector<std::pair<uintptr_t, int>> ranges;
  for (const Event* event : threads) {
    ranges.emplace_back(event->address, event->bytes);
  }
  const bool write = threads[0]->write;
  Accesses& to = write ? buffer.written : buffer.read;
  std::sort(ranges.begin(), ranges.end());
  int64_t last_sector = -1, last_line = -1;
  uintptr_t done = 0;
  auto& sectors_of_block = of_block[{allocation->id, write}];
  for (const auto& [begin, bytes] : ranges) {
    const uintptr_t end = begin + bytes;
    to.bytes += end > done ? int64_t(end - std::max(begin, done)) : 0;
    done = std::max(done, end);
    to.widest = std::max<int64_t>(to.widest, bytes);
    for (int64_t sector = begin / sector_size; sector <= int64_t((end - 1) / sector_size); ++sector) {
      if (sector > last_sector) {
        ++to.sectors;
        last_sector = sector;
        sectors_of_block.push_back(sector);
        const int64_t line = sector * sector_size / line_size;
        to.lines += line > last_line;
        last_line = line;
      }
    }
  }
  ++to.instructions;
}

void Recorder::end_block() {
  if (!enabled) {
    return;
  }
  Launch& launch = launches_.back();
  if (launch.first_thread.empty()) {
    for (const Event& event : events_[0]) {
      if (const Allocation* allocation = allocation_of(event.address)) {
        launch.first_thread.push_back({allocation->id, event.bytes, event.write});
      }
    }
  }
  std::map<std::pair<int64_t, bool>, std::vector<int64_t>> of_block;
  for (size_t first = 0; first < events_.size(); first += warp_size) {
    std::map<std::pair<const void*, int64_t>, std::vector<const Event*>> instructions;
    for (size_t thread = first; thread < std::min(events_.size(), first + warp_size); ++thread) {
      std::unordered_map<const void*, int64_t> times;
      for (const Event& event : events_[thread]) {
        instructions[{event.place, times[event.place]++}].push_back(&event);
      }
    }
    for (const auto& [place, threads] : instructions) {
      add_instruction(threads, of_block);
    }
  }
  for (auto& [key, sectors] : of_block) {
    Buffer& buffer = launch.buffers.at(key.first);
    Accesses& to = key.second ? buffer.written : buffer.read;
    std::sort(sectors.begin(), sectors.end());
    sectors.erase(std::unique(sectors.begin(), sectors.end()), sectors.end());
    to.block_sectors += sectors.size();
    to.seen.resize(buffer.bytes / sector_size + 2);
    for (const int64_t sector : sectors) {
      auto seen = to.seen[sector - buffer.address / sector_size];
      to.kernel_sectors += !seen;
      seen = true;
    }
  }
  for (auto& thread : events_) {
    thread.clear();
  }
}

std::string Recorder::report() {
  std::ostringstream out;
  const auto put = [&](const char* name, const Accesses& of) {
    out << '"' << name << "\":{\"instructions\":" << of.instructions << ",\"bytes\":" << of.bytes
        << ",\"sectors\":" << of.sectors << ",\"lines\":" << of.lines << ",\"block_sectors\":" << of.block_sectors
        << ",\"kernel_sectors\":" << of.kernel_sectors << ",\"widest\":" << of.widest << '}';
  };
  const char* separator = "[";
  for (const Launch& launch : launches_) {
    out << separator << "{\"kernel\":\"" << launch.kernel << "\",\"blocks\":" << launch.blocks
        << ",\"threads\":" << launch.threads << ",\"buffers\":[";
    separator = "";
    for (const auto& [id, buffer] : launch.buffers) {
      out << separator << "{\"id\":" << id << ",\"address\":" << buffer.address << ",\"bytes\":" << buffer.bytes << ',';
      put("read", buffer.read);
      out << ',';
      put("written", buffer.written);
      out << '}';
      separator = ",";
    }
    out << "],\"shared\":{\"instructions\":" << launch.shared.instructions
        << ",\"conflicts\":" << launch.shared.conflicts << ",\"worst\":" << launch.shared.worst
        << "},\"first_thread\":[";
    separator = "";
    for (const Step& step : launch.first_thread) {
      out << separator << '[' << step.buffer << ',' << step.bytes << ',' << step.write << ']';
      separator = ",";
    }
    out << "]}";
    separator = ",";
  }
  out << (launches_.empty() ? "[]" : "]");
  launches_.clear();
  return out.str();
}

}  // namespace on_host

// What the compiler calls.
#define DERF_ACCESS(name, bytes, write)                                           \
  extern "C" void __tsan_##name(const void* address) {                            \
    on_host::recorder.access(__builtin_return_address(0), address, bytes, write); \
  }
#define DERF_ACCESSES(bytes)                       \
  DERF_ACCESS(read##bytes, bytes, false)           \
  DERF_ACCESS(write##bytes, bytes, true)           \
  DERF_ACCESS(unaligned_read##bytes, bytes, false) \
  DERF_ACCESS(unaligned_write##bytes, bytes, true)
DERF_ACCESSES(1)
DERF_ACCESSES(2)
DERF_ACCESSES(4)
DERF_ACCESSES(8)
DERF_ACCESSES(16)
extern "C" void __tsan_read_range(const void* address, uint64_t bytes) {
  on_host::recorder.access(__builtin_return_address(0), address, int(bytes), false);
}
extern "C" void __tsan_write_range(const void* address, uint64_t bytes) {
  on_host::recorder.access(__builtin_return_address(0), address, int(bytes), true);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(const void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void*, void*) {}
extern "C" void __tsan_vptr_read(void*) {}
// Atomics, which PyTorch's headers have, the kernels not.
#define DERF_ATOMICS(bits, Integer)                                                                              \
  extern "C" Integer __tsan_atomic##bits##_load(const Integer* at, int) { return __atomic_load_n(at, 5); }       \
  extern "C" void __tsan_atomic##bits##_store(Integer* at, Integer x, int) { __atomic_store_n(at, x, 5); }       \
  extern "C" Integer __tsan_atomic##bits##_fetch_add(Integer* at, Integer x, int) {                              \
    return __atomic_fetch_add(at, x, 5);                                                                         \
  }                                                                                                              \
  extern "C" Integer __tsan_atomic##bits##_fetch_sub(Integer* at, Integer x, int) {                              \
    return __atomic_fetch_sub(at, x, 5);                                                                         \
  }                                                                                                              \
  extern "C" int __tsan_atomic##bits##_compare_exchange_weak(Integer* at, Integer* old, Integer x, int, int) {   \
    return __atomic_compare_exchange_n(at, old, x, true, 5, 5);                                                  \
  }                                                                                                              \
  extern "C" int __tsan_atomic##bits##_compare_exchange_strong(Integer* at, Integer* old, Integer x, int, int) { \
    return __atomic_compare_exchange_n(at, old, x, false, 5, 5);                                                 \
  }
DERF_ATOMICS(8, uint8_t)
DERF_ATOMICS(32, uint32_t)
DERF_ATOMICS(64, uint64_t)
