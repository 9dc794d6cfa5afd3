// CUDA for the host: what csrc/cuda/device.cuh gives the kernels on a GPU, in plain C++. The threads of a block are
// fibers that take turns at barriers; the blocks run one after the other.
#pragma once
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static

namespace derf::cuda {

// A GPU's instructions err by up to 2^-22 and 2^-23: here they do so by as much, up or down as the bits have it.
inline float erring(float x, double exact, double error) {
  const bool up = std::bit_cast<uint32_t>(x) * 2654435761u >> 31;
  const auto y = float(exact * (1 + (up ? error : -error)));
  return std::fabs(y) < 0x1p-126f ? 0 : y;
}
inline float exp2_approximately(float x) { return erring(x, std::exp2(double(x)), 0x1p-22); }
inline float reciprocal_approximately(float x) { return erring(x, 1 / double(x), 0x1p-23); }

}  // namespace derf::cuda

#include "../../csrc/format.h"
#include "../../csrc/functions/thread.h"
#include "recorder.h"

namespace on_host {

struct Index {
  uint32_t x;
};

// How the kernels are run: as on a GPU with so many multiprocessors, the threads between two barriers in their order or
// against it. What depends on the order lacks a barrier.
struct Settings {
  int processors = 1;
  bool reversed = false;
  bool idle = false;  // launches do nothing: what is left is the host's time
};
inline Settings settings;

inline Index threadIdx, blockIdx, blockDim;

class Block {
 public:
  // Runs body as each of `threads` threads.
  void run(uint32_t threads, const std::function<void()>& body);
  // Called by a thread: goes on when all others have come here.
  void barrier();

 private:
  struct Fiber {
    ucontext_t start;
    jmp_buf position;
    std::unique_ptr<char[]> stack;
    bool started, done;
    uint32_t barriers;  // passed by now
  };
  static void enter();
  void resume(uint32_t thread);

  std::vector<Fiber> fibers_;
  ucontext_t scheduler_start_;
  jmp_buf scheduler_;
  const std::function<void()>* body_;
};
inline Block block;

}  // namespace on_host

using uint4 = uint32_t __attribute__((vector_size(16)));  // one access each
using on_host::blockDim;
using on_host::blockIdx;
using on_host::threadIdx;
inline void __syncthreads() { on_host::block.barrier(); }

namespace derf::cuda {

inline float bits_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline float widen(BFloat16 x) { return c10::BFloat16(x.bits, c10::BFloat16::from_bits()); }
inline float widen(Half x) { return c10::Half(x.bits, c10::Half::from_bits()); }
inline uint32_t narrow_pair(BFloat16, float low, float high) {
  return c10::BFloat16(low).x | uint32_t(c10::BFloat16(high).x) << 16;
}
inline uint32_t narrow_pair(Half, float low, float high) {
  return c10::Half(low).x | uint32_t(c10::Half(high).x) << 16;
}

inline uint32_t nearest_int8(double x) {
  return uint32_t(int32_t(std::nearbyint(x != x ? 0 : std::clamp(x, -128., 127.))));
}
// As on GPUs without the instructions.
constexpr bool has_float8_instructions = false;
template <Format>
uint32_t float8_pair(float, float) {
  return 0;
}

// Not fused: the host's compiler is not told of instructions that would.
inline float rounded_product(float a, float b) { return a * b; }
inline double rounded_product(double a, double b) { return a * b; }

template <class Packet>
void write_at_once(Packet* to, Packet packet) {
  *to = packet;
}

inline void let_next_start() {}
inline void wait_for_previous() {}

// In the order of a GPU's: each lane adds that of the lane 16 away, then 8, 4, 2 and 1.
template <class Number>
Number sum_of_warp(Number x) {
  static Number of[1024];
  const uint32_t warp = threadIdx.x / 32 * 32;
  for (uint32_t lanes = 16; lanes > 0; lanes /= 2) {
    __syncthreads();
    of[threadIdx.x] = x;
    __syncthreads();
    x += of[warp + ((threadIdx.x - warp) ^ lanes)];
  }
  return x;
}

inline int processors() { return on_host::settings.processors; }

template <class... Parameters, class... Arguments>
const char* launch(void (*kernel)(Parameters...), int64_t blocks, uint32_t threads, void*,
                   const Arguments&... arguments) {
  if (blocks < 1 || blocks > INT32_MAX || threads < 1 || threads > 1024) {
    return "a launch that CUDA would refuse";
  }
  if (on_host::settings.idle) {
    return nullptr;
  }
  blockDim.x = threads;
  on_host::recorder.begin_launch(__PRETTY_FUNCTION__, blocks, threads);
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    on_host::block.run(threads, [&] { kernel(arguments...); });
    on_host::recorder.end_block();
  }
  return nullptr;
}

template <class... Parameters, class... Arguments>
const char* launch_early(void (*kernel)(Parameters...), int64_t blocks, uint32_t threads, void* stream,
                         const Arguments&... arguments) {
  return launch(kernel, blocks, threads, stream, arguments...);
}

}  // namespace derf::cuda

namespace on_host {

inline void Block::enter() {
  (*block.body_)();
  block.fibers_[threadIdx.x].done = true;
  _longjmp(block.scheduler_, 1);
}

inline void Block::resume(uint32_t thread) {
  threadIdx.x = thread;
  Fiber& fiber = fibers_[thread];
  if (_setjmp(scheduler_) != 0) {
    return;
  }
  if (fiber.started) {
    _longjmp(fiber.position, 1);
  }
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack = {.ss_sp = fiber.stack.get(), .ss_flags = 0, .ss_size = 1 << 16};
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, &Block::enter, 0);
  setcontext(&fiber.start);
}

inline void Block::run(uint32_t threads, const std::function<void()>& body) {
  body_ = &body;
  while (fibers_.size() < threads) {
    fibers_.emplace_back().stack = std::make_unique<char[]>(1 << 16);
  }
  for (Fiber& fiber : fibers_) {
    fiber.started = fiber.done = false;
    fiber.barriers = 0;
  }
  for (bool done = false; !done;) {
    recorder.running = true;
    for (uint32_t i = 0; i < threads; ++i) {
      resume(settings.reversed ? threads - 1 - i : i);
    }
    recorder.running = false;
    done = fibers_[0].done;
    for (uint32_t i = 0; i < threads; ++i) {
      if (fibers_[i].done != done || fibers_[i].barriers != fibers_[0].barriers) {
        std::fputs("a thread has left while others wait at a barrier\n", stderr);
        std::abort();
      }
    }
  }
}

inline void Block::barrier() {
  Fiber& fiber = fibers_[threadIdx.x];
  ++fiber.barriers;
  if (_setjmp(fiber.position) == 0) {
    _longjmp(scheduler_, 1);
  }
}

}  // namespace on_host
