// What is asked of the operating system.
#pragma once
#include <cstddef>
#include <cstdint>

namespace derf::cpu {

// The last-level cache that a core reaches.
int64_t cache_bytes();

// Fresh memory comes page by page, each cleared and mapped at its first touch, which takes longer than the kernel;
// pages of 2 MiB, where the system lets a program ask for them, make that a fraction. DERF_HUGE_PAGES=0 asks for none.
void ask_for_huge_pages(void* data, size_t bytes);

}  // namespace derf::cpu
