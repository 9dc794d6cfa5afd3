// Runs NEON kernels as it is told on standard input, until that ends. The argument is a file descriptor of the memory.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "../../csrc/cpu/tasks.h"
#include "request.h"

namespace c10::detail {  // what the kernels' file needs of PyTorch's libraries
void torchCheckFail(const char*, const char*, uint32_t, const char* message) {
  std::fputs(message, stderr);
  std::abort();
}
}  // namespace c10::detail

int main(int, char** arguments) {
  using namespace emulated;
  void* wanted = reinterpret_cast<void*>(memory_address);
  if (mmap(wanted, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, std::atoi(arguments[1]), 0) !=
      wanted) {
    std::perror("memory");
    return 1;
  }
  const auto& kernels = derf::cpu::NEON::kernels;
  Request request;
  while (read(STDIN_FILENO, &request, sizeof request) == sizeof request) {
    const auto call = [&](auto kernel, const auto& task) { kernel(task, request.begin, request.end); };
    switch (request.kernel) {
      case Kernel::forward: call(kernels.forward, *static_cast<const derf::cpu::ForwardTask*>(request.call)); break;
      case Kernel::backward: call(kernels.backward, *static_cast<const derf::cpu::BackwardTask*>(request.call)); break;
      case Kernel::reduce: call(kernels.reduce, *static_cast<const derf::cpu::Reduce*>(request.call)); break;
      case Kernel::widen: kernels.widen(*static_cast<const derf::cpu::Widen*>(request.call)); break;
      case Kernel::evaluate: kernels.evaluate(*static_cast<const derf::cpu::Evaluate*>(request.call)); break;
    }
    if (write(STDOUT_FILENO, "", 1) != 1) {
      return 1;
    }
  }
}
