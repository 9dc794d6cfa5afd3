// What the process with the operators asks of the one with the kernels. Both have the same memory at the same address,
// and structs of the same layout.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulated {

constexpr uintptr_t memory_address = uintptr_t(1) << 44;
constexpr size_t memory_bytes = size_t(1) << 28;

enum class Kernel : int64_t { forward, backward, reduce, widen, evaluate };

struct Request {
  Kernel kernel;
  const void* call;  // the struct that the kernel takes, in that memory as all that it points to
  int64_t begin, end;
};

}  // namespace emulated
