#pragma once
#include "erf.h"
namespace derf::CPU_CAPABILITY { template <class T> struct Tanh : Erf<T> {}; }
