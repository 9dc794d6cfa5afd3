// placeholder until the family is merged
#pragma once
#include "erf.h"
#if defined(CPU_CAPABILITY)
namespace derf::CPU_CAPABILITY { template <class T> struct Tanh : Erf<T> {}; }
#else
namespace derf::cuda { template <class T> struct Tanh : Erf<T> {}; }
#endif
