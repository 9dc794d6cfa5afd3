// libstdc++'s shared_ptr asks glibc 2.32 and newer whether the process has one thread only. This answers for it, hidden
// in the library: no, so that the library loads with the glibc 2.28 of manylinux_2_28 too.
#if __has_include(<sys/single_threaded.h>)
extern "C" {
[[gnu::visibility("hidden")]] char __libc_single_threaded = 0;
}
#endif
