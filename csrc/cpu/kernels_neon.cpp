// Flags and the CPU_CAPABILITY macros: CMakeLists.txt.
#include "kernels.h"
