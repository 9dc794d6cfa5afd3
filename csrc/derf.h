// derf for C++: install with CMake, find_package(derf), link derf::derf, #include <derf/derf.h>. Programs that run
// exported models need no header: they link to derf::derf, or load the library before the model.
#pragma once
#include "module.h"
#include "operators.h"
