// What the compiler's headers call in newer libraries than those of manylinux_2_28 (glibc 2.28, GLIBCXX_3.4.25),
// defined here and hidden by exports.map, so that one library loads with both.
#include <sstream>

#if __has_include(<sys/single_threaded.h>)
// shared_ptr asks glibc 2.32 whether the process has one thread only. This answers for it: no.
extern "C" {
[[gnu::visibility("hidden")]] char __libc_single_threaded = 0;
}
#endif

#if defined(_GLIBCXX_RELEASE) && _GLIBCXX_RELEASE >= 11 && _GLIBCXX_USE_CXX11_ABI
// GLIBCXX_3.4.29: messages of PyTorch 2.7's checks are made in headers.
template std::string std::basic_stringbuf<char>::str() const&;
#endif
