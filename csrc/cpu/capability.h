// The kernels of each instruction set, and the choice between them.
#pragma once
#include <vector>

#include "tasks.h"

namespace derf::cpu {

// Those that this processor can run, the least demanding first.
const std::vector<const Kernels*>& runnable_kernels();

// Those that run here: the ones PyTorch's own choice says (ATEN_CPU_CAPABILITY forces one).
const Kernels& chosen_kernels();

}  // namespace derf::cpu
