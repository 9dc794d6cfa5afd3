#!/bin/bash
# Whether the sources of the CPU part are accepted for Windows, by GCC with MinGW's headers and PyTorch's own for Windows:
#
#   tests/windows/check.sh [python that has pip]
#
# Nothing is compiled to code or run, and nothing of this could be linked: PyTorch's library has Microsoft's C++ ABI. Needs
# Debian's g++-mingw-w64-x86-64-posix; where it is not installed, it is downloaded.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
python=${1:-python3} gcc=x86_64-w64-mingw32-g++-posix
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip download -q --no-deps --only-binary=:all: --platform win_amd64 --python-version 3.11 torch -d "$work"
"$python" -m zipfile -e "$work"/torch-*.whl "$work/torch"
cd "$work"
if ! command -v "$gcc" > /dev/null; then
  apt-get download -q {gcc,g++}-mingw-w64-x86-64-posix gcc-mingw-w64-{base,x86-64-posix-runtime} \
    mingw-w64-{common,x86-64-dev} binutils-mingw-w64-x86-64
  for package in *.deb; do dpkg -x "$package" system; done
  gcc=$work/system/usr/bin/$gcc
fi

# What PyTorch's headers call where the compiler is not Microsoft's.
echo 'extern "C" [[noreturn]] void __assert_fail(const char*, const char*, unsigned, const char*);' > assert_fail.h
flags=(-std=c++20 -fsyntax-only -Wall -Wextra -Werror -include assert_fail.h -isystem torch/torch/include
  -isystem torch/torch/include/torch/csrc/api/include
  -DDERF_HAVE_DEFAULT -DDERF_HAVE_AVX2 -DDERF_HAVE_AVX512 "-DDERF_TAG=\"torch\"" "-DDERF_CUDA_INFO=\"no\""
  "-DDERF_COMPILER=\"gcc\"")
for file in "$source"/csrc/{,autograd/,composite/,functions/,meta/}*.cpp \
  "$source"/csrc/cpu/{capability,operator,system,kernels_default,kernels_avx2,kernels_avx512}.cpp; do
  case $file in
    */kernels_default.cpp) capability=(-DCPU_CAPABILITY=DEFAULT -DCPU_CAPABILITY_DEFAULT) ;;
    */kernels_avx2.cpp) capability=(-DCPU_CAPABILITY=AVX2 -DCPU_CAPABILITY_AVX2 -mavx2 -mfma -mf16c) ;;
    */kernels_avx512.cpp) capability=(-DCPU_CAPABILITY=AVX512 -DCPU_CAPABILITY_AVX512 -mavx512{f,bw,vl,dq} -mfma -mf16c) ;;
    *) capability=() ;;
  esac
  "$gcc" "${flags[@]}" "${capability[@]}" "$file"
done
echo "all sources are accepted for Windows"
