#!/bin/bash
# Whether the sources of the CPU part are accepted by Clang for macOS on Arm with PyTorch's own headers for it:
#
#   tests/macos/check.sh [python that has pip] [clang++]
#
# Nothing is compiled to code or run. Apple's headers cannot be had elsewhere: the C++ library is LLVM's, the C library's
# headers are musl's with Apple's 64-bit types, and include/ stands in for what is left. Needs Clang and libc++ of LLVM 17
# or newer (Debian's names: clang-19 libc++-19-dev) and musl-dev; a package that is not installed is downloaded.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
python=${1:-python3} clang=${2:-clang++-19}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip download -q --no-deps --only-binary=:all: --platform macosx_11_0_arm64 --platform macosx_14_0_arm64 \
  --python-version 3.11 torch -d "$work"
"$python" -m zipfile -e "$work"/torch-*.whl "$work/torch"
cxx=$("$clang" -print-file-name=../../include/c++/v1) musl=/usr/include/x86_64-linux-musl
cd "$work"
if [ ! -d "$cxx" ] || [ ! -d "$musl" ]; then
  apt-get download -q libc++-19-dev musl-dev
  for package in *.deb; do dpkg -x "$package" system; done
  cxx=$work/system/usr/lib/llvm-19/include/c++/v1 musl=$work/system$musl
fi
cp -r "$musl" c
sed -i -e 's/^#define _Int64 .*/#define _Int64 long long/' \
  -e 's/^typedef unsigned _Int64 uint64_t/typedef unsigned long long uint64_t/' c/bits/alltypes.h

flags=(-target arm64-apple-macos14 -std=c++20 -fsyntax-only -Wall -Wextra -Werror -Wno-missing-braces -D_GNU_SOURCE -nostdinc
  -isystem "$source/tests/macos/include" -isystem "$cxx" -isystem "$("$clang" -print-resource-dir)/include" -isystem c
  -isystem torch/torch/include -isystem torch/torch/include/torch/csrc/api/include
  -DDERF_HAVE_NEON "-DDERF_TAG=\"torch\"" "-DDERF_CUDA_INFO=\"no\"" "-DDERF_COMPILER=\"clang\"")
for file in "$source"/csrc/{,autograd/,composite/,functions/,meta/}*.cpp \
  "$source"/csrc/cpu/{capability,operator,system,kernels_neon}.cpp; do
  case $file in
    */kernels_neon.cpp) capability=(-DCPU_CAPABILITY=NEON -DCPU_CAPABILITY_NEON) ;;
    *) capability=() ;;
  esac
  "$clang" "${flags[@]}" "${capability[@]}" "$file"
done
echo "all sources are accepted for macOS on Arm"
