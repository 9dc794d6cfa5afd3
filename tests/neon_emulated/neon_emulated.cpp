// The CPU's operators, run by NEON kernels in another process, an emulated one: server.cpp. What a kernel is given goes
// to memory that both have, and its results from there. torch.ops.load_library of this gives
//   derf_neon_emulated::connect(int memory, int requests, int replies) -> ()    file descriptors
//   derf_neon_emulated::install(bool stream) -> ()
//   derf_neon_emulated::evaluate(Tensor u, ScalarType dtype, str function) -> (Tensor, Tensor, Tensor)
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <vector>

#include "../cpu_on_host.h"
#include "request.h"

namespace {

using namespace derf::cpu;
using derf::Result, derf::Type;
using emulated::Kernel, emulated::Request;

int requests_to = -1, replies_from = -1;
std::mutex mutex;

// A call's data in the memory of both. Each piece lies as far from a multiple of 64 bytes as it does here, between
// bytes that must not change, no more than what a kernel may not write.
class Transfer {
  static constexpr size_t guard = 64;
  static constexpr unsigned char unwritten = 0xa5;
  struct Piece {
    unsigned char* there;
    unsigned char* here;
    size_t bytes;
    bool is_result;
  };
  std::vector<Piece> pieces_;
  unsigned char* next_ = reinterpret_cast<unsigned char*>(emulated::memory_address);

  void* add(const void* from, size_t bytes, bool is_result) {
    auto* here = static_cast<unsigned char*>(const_cast<void*>(from));
    auto* there = next_ + guard + reinterpret_cast<uintptr_t>(here) % guard;
    auto* end = there + bytes + guard;
    next_ = end + (guard - reinterpret_cast<uintptr_t>(end) % guard);
    TORCH_CHECK(reinterpret_cast<uintptr_t>(next_) <= emulated::memory_address + emulated::memory_bytes,
                "the memory of both processes is too small");
    std::memset(there - guard, unwritten, guard);
    std::memcpy(there, here, bytes);
    std::memset(there + bytes, unwritten, guard);
    pieces_.push_back({there, here, bytes, is_result});
    return there;
  }

 public:
  void argument(const void*& p, size_t bytes) {
    if (p) {
      p = add(p, bytes, false);
    }
  }
  void result(void*& p, size_t bytes) {
    if (p) {
      p = add(p, bytes, true);
    }
  }

  template <class Call>
  void run(Kernel kernel, const Call& call, int64_t begin = 0, int64_t end = 0) {
    const Request request{kernel, add(&call, sizeof call, false), begin, end};
    char reply;
    TORCH_CHECK(write(requests_to, &request, sizeof request) == sizeof request && read(replies_from, &reply, 1) == 1,
                "the process with the kernels has ended");
    for (const auto& [there, here, bytes, is_result] : pieces_) {
      for (size_t i = 0; i < guard; ++i) {
        TORCH_CHECK(there[-1 - int64_t(i)] == unwritten && there[bytes + i] == unwritten,
                    "a kernel wrote outside of a tensor");
      }
      if (is_result) {
        std::memcpy(here, there, bytes);
      } else {
        TORCH_CHECK(&call == reinterpret_cast<const void*>(here) || !std::memcmp(here, there, bytes),
                    "a kernel wrote to its argument");
      }
    }
  }
};

size_t size_of_arithmetic(Type type) { return type == Type::f64 ? 8 : 4; }

void parameter(Transfer& transfer, const Task& task, Parameter& row, Type type, bool shared = false) {
  const int64_t all = (task.shape.groups - 1) * row.group_stride + (shared ? 1 : task.shape.channels);
  transfer.argument(row.data, (row.channel_mask ? all : Constants<float>::count) * size_of(type));
}

void arguments(Transfer& transfer, Task& task) {
  transfer.argument(task.input, task.shape.numel() * size_of(task.type));
  transfer.argument(task.alphas, task.shape.channels * size_of_arithmetic(task.type));
  transfer.argument(task.shifts, task.shape.channels * size_of_arithmetic(task.type));
  parameter(transfer, task, task.weight, task.param_type);
  parameter(transfer, task, task.bias, task.param_type);
  parameter(transfer, task, task.gate, task.gate.type, task.gate.shared);
}

void forward(const ForwardTask& task, int64_t begin, int64_t end) {
  const std::lock_guard lock(mutex);
  Transfer transfer;
  ForwardTask call = task;
  const size_t n = task.shape.numel();
  arguments(transfer, call);
  transfer.argument(call.residual, n * size_of(task.sum_type));
  transfer.result(call.sum, n * size_of(task.sum_type));
  transfer.result(call.output, n * size_of(task.type));
  transfer.result(call.quantized, n);
  parameter(transfer, task, call.inverse_scale, task.type == Type::f64 ? Type::f64 : Type::f32);
  transfer.run(Kernel::forward, call, begin, end);
}

void backward(const BackwardTask& task, int64_t begin, int64_t end) {
  const std::lock_guard lock(mutex);
  Transfer transfer;
  BackwardTask call = task;
  const size_t n = task.shape.numel();
  arguments(transfer, call);
  transfer.argument(call.grad_output, n * size_of(task.type));
  transfer.result(call.grad_input, n * size_of(task.type));
  transfer.argument(call.sum, n * size_of(task.sum_type));
  transfer.argument(call.grad_sum, n * size_of(task.sum_type));
  transfer.result(call.grad_residual, n * size_of(task.sum_type));
  const auto sums = [&](Sums& of, bool per_channel) {
    if (!per_channel) {  // the result is the caller's work
      transfer.result(of.partial, of.result.data ? task.tiles.total() * sizeof(double) : 0);
    } else if (of.partial) {
      transfer.result(of.partial, task.tiles.rows() * task.shape.channels * size_of_arithmetic(task.type));
    } else {
      transfer.result(of.result.data, task.shape.groups * task.shape.channels * size_of(of.result.type));
    }
  };
  sums(call.alpha_sums, task.alphas);
  sums(call.shift_sums, task.alphas);
  sums(call.weight_sums, true);
  sums(call.bias_sums, true);
  sums(call.gate_sums, true);
  transfer.run(Kernel::backward, call, begin, end);
}

void reduce(const Reduce& given, int64_t begin, int64_t end) {
  const std::lock_guard lock(mutex);
  Transfer transfer;
  Reduce call = given;
  const int64_t channels = call.groups * call.channels;
  transfer.argument(call.partial, channels * call.rows * size_of_arithmetic(call.type));
  transfer.result(call.result.data, channels * size_of(call.result.type));
  transfer.run(Kernel::reduce, call, begin, end);
}

void widen(const Widen& given) {
  const std::lock_guard lock(mutex);
  Transfer transfer;
  Widen call = given;
  transfer.argument(call.from, call.count * size_of(call.type));
  transfer.result(call.to, call.count * size_of(call.arithmetic));
  transfer.run(Kernel::widen, call);
}

void evaluate(const Evaluate& given) {
  const std::lock_guard lock(mutex);
  Transfer transfer;
  Evaluate call = given;
  const size_t bytes = call.count * size_of_arithmetic(call.type);
  transfer.argument(call.u, bytes);
  transfer.result(call.value, bytes);
  transfer.result(call.value_in_sums, bytes);
  transfer.result(call.slope, bytes);
  transfer.run(Kernel::evaluate, call);
}

void connect(int64_t memory, int64_t requests, int64_t replies) {
  void* wanted = reinterpret_cast<void*>(emulated::memory_address);
  TORCH_CHECK(mmap(wanted, emulated::memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
                   int(memory), 0) == wanted);
  requests_to = int(requests);
  replies_from = int(replies);
}

}  // namespace

const derf::cpu::Kernels& on_host::kernels() {
  static const Kernels all{"neon, emulated", &::forward, &::backward, &::reduce, &::widen, &::evaluate};
  return all;
}

TORCH_LIBRARY(derf_neon_emulated, m) {
  m.def("connect(int memory, int requests, int replies) -> ()", &connect);
  m.def("install(bool stream) -> ()", &on_host::install_operators);
  m.def("evaluate(Tensor u, ScalarType dtype, str function='erf') -> (Tensor, Tensor, Tensor)", &on_host::evaluate);
}
