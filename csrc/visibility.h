// What leaves a shared library: all else is hidden.
#pragma once

#if defined(_WIN32)
#define DERF_API
#else
#define DERF_API __attribute__((visibility("default")))
#endif
