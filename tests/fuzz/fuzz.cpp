// libFuzzer's target: a call of an operator from bytes. It must give what its definition says, or, where README.md does
// not promise a result, an error that says so; and change no memory but its results'.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "call.h"
#include "guarded_allocator.h"

namespace {

// Of some calls tensors and scratch memory end, or begin, at a page that no one may touch. (Not of all: it takes as
// long as a call.)
class Guard {
  c10::Allocator* const before_ = c10::GetCPUAllocator();

 public:
  explicit Guard(int64_t kind) {
    if (kind == 1 || kind == 2) {
      on_host::guard_allocations(/*at_end=*/kind == 1);
    }
  }
  ~Guard() { c10::SetCPUAllocator(before_, /*priority=*/255); }
};

[[noreturn]] void fail(const fuzz::Call& call, const std::string& what) {
  std::fprintf(stderr, "%s\n%s\n", what.c_str(), fuzz::shown(call).c_str());
  std::abort();
}

// The memory of tensors, all of their storage.
class Memory {
  std::vector<std::pair<at::Tensor, std::vector<char>>> kept_;

 public:
  explicit Memory(const fuzz::Call& call) {
    for (const auto& [name, t] : call.tensors) {
      if (t.is_cpu() && t.layout() == at::kStrided) {
        const auto* begin = static_cast<const char*>(t.storage().data());
        kept_.emplace_back(t, std::vector<char>(begin, begin + t.storage().nbytes()));
      }
    }
  }

  // Whether all of it is as before, but for the elements of `out`.
  bool is_unchanged(const at::Tensor& out) const {
    for (const auto& [t, before] : kept_) {
      const char* now = static_cast<const char*>(t.storage().data());
      if (std::equal(before.begin(), before.end(), now)) {
        continue;
      }
      if (!out.defined() || !out.storage().is_alias_of(t.storage())) {
        return false;
      }
      const int64_t size = out.element_size();
      const at::Tensor written = at::zeros({int64_t(before.size()) / size}, at::kBool);
      written.as_strided(out.sizes(), out.strides(), out.storage_offset()).fill_(true);
      const bool* is_written = written.const_data_ptr<bool>();
      for (int64_t i = 0; i < written.numel(); ++i) {
        if (!is_written[i] && std::memcmp(now + i * size, before.data() + i * size, size) != 0) {
          return false;
        }
      }
    }
    return true;
  }
};

// In place the operand is gone afterwards; the definition is asked about what it was.
fuzz::Call kept(const fuzz::Call& call) {
  fuzz::Call copy = call;
  if (call.writes()) {
    for (auto& [name, t] : copy.tensors) {
      t = t.is_cpu() && t.layout() == at::kStrided && !fuzz::is_huge(call) ? t.clone() : t;
    }
  }
  return copy;
}

// valgrind computes long double in 64 bits: the definition for float64 overflows there where it must not.
bool is_long_double_long() {
  volatile long double largest = std::numeric_limits<double>::max();
  return largest * 2 < std::numeric_limits<long double>::infinity();
}

}  // namespace

// A tensor for which there is no memory is an error of PyTorch's, not the sanitizer's.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1:max_allocation_size_mb=4096"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool one_thread = [] {
    at::set_num_threads(1);
    return true;
  }();
  (void)one_thread;
  fuzz::Bytes bytes(data, size);
  const Guard guard(bytes.below(8));
  const fuzz::Call call = fuzz::decode(bytes);
  const bool valid = fuzz::is_valid(call);
  const fuzz::Call before = kept(call);
  const Memory memory(call);
  std::map<std::string, at::Tensor> results;
  try {
    results = fuzz::run(call);
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    if (valid && !fuzz::is_huge(call)) {
      fail(call, "an error where README.md promises a result: " + message);
    }
    if (!fuzz::is_huge(call) && message.find("derf") == std::string::npos) {
      fail(call, "an error that does not say whose it is: " + message);
    }
    if (!memory.is_unchanged({})) {
      fail(call, "memory has changed in spite of the error: " + message);
    }
    return 0;
  }
  if (!valid) {
    fail(call, "no error where there must be one");
  }
  if (!memory.is_unchanged(call.in_place() ? call.tensor("input") : call.tensor("out"))) {
    fail(call, "memory has changed beside the results");
  }
  static const bool can_compare = is_long_double_long();
  // Which reads all results, as valgrind is to see, even if nothing follows from it.
  if (const std::string wrong = fuzz::difference(before, results); can_compare && !wrong.empty()) {
    fail(call, wrong);
  }
  return 0;
}
