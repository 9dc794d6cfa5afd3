#!/bin/bash
# Runs the machine code of the AVX-512 kernels on an emulated processor, Intel's of 2017, and compares with float64:
#
#   PYTHON=<that has torch> tests/avx512_on_host/emulate.sh [kernels_avx512.cpp.o of a build, else it is compiled here]
#
# Three minutes on a core of its own, without a display. driver.cpp says what is called and printed. Bochs 2.7 rounds
# ties between denormal float16 away from 0: of float16 results alone the hashes are not a processor's.
#
# Needs a C++ compiler with a static libc and (Debian's names) bochs, grub-pc-bin, grub-common, xorriso, mtools, cpio and
# a Linux kernel: of an installed linux-image-amd64 the newest, or KERNEL=<vmlinuz>.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$here/../..
torch=$("${PYTHON:-python3}" -c 'import torch; print(torch.__path__[0])')/include
kernel=${KERNEL:-$(find /boot -name 'vmlinuz-*' | sort -V | tail -n 1)}
work=$(mktemp -d)
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2> /dev/null || true; rm -rf "$work"' EXIT

if [ $# -gt 0 ]; then
  object=$1
else
  object=$work/kernels.o
  read -ra flags < <(sed -n 's/^set(flags_avx512 \([^)]*\)).*/\1/p' "$source/CMakeLists.txt")
  c++ -std=c++20 -O3 -DNDEBUG -isystem "$torch" "${flags[@]}" -DCPU_CAPABILITY=AVX512 -DCPU_CAPABILITY_AVX512 \
    -c "$source/csrc/cpu/kernels_avx512.cpp" -o "$object"
fi

mkdir -p "$work/root/dev" "$work/disk/boot/grub"
c++ -std=c++20 -O1 -Wall -Wextra -static -isystem "$torch" "$here/driver.cpp" "$object" -o "$work/root/driver"
# The first process: runs the driver, and says how it ended.
cc -x c -O1 -static - -o "$work/root/init" << 'PROGRAM'
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main() {
  int status = 0;
  if (fork() == 0) {
    execl("/driver", "driver", (char*)0);
  }
  wait(&status);
  printf("ended: %d\n", status);
  fflush(stdout);
  for (;;) pause();
}
PROGRAM
mknod -m 600 "$work/root/dev/console" c 5 1
(cd "$work/root" && find . | cpio --quiet -o -H newc) > "$work/disk/boot/initrd"
cp "$kernel" "$work/disk/boot/vmlinuz"
# The processor's description of XSAVES contradicts itself, upon which Linux would do without AVX.
cat > "$work/disk/boot/grub/grub.cfg" << 'MENU'
set timeout=0
terminal_output console
menuentry driver {
  linux /boot/vmlinuz console=ttyS0 loglevel=0 clearcpuid=xsaves,xsavec mitigations=off tsc=reliable lpj=1000000 nosmp acpi=off
  initrd /boot/initrd
}
MENU
grub-mkrescue -o "$work/disk.iso" "$work/disk" 2> "$work/grub.log" || { cat "$work/grub.log"; exit 1; }
cat > "$work/bochsrc" << MACHINE
cpu: model=corei7_skylake_x, ips=100000000
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$work/disk.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
display_library: rfb, options="timeout=0"
log: $work/log
panic: action=fatal
sound: driver=dummy, waveout=none
MACHINE
echo c > "$work/commands" # Debian's Bochs has the debugger: continue
bochs-bin -q -f "$work/bochsrc" -rc "$work/commands" < /dev/null > "$work/out" 2>&1 &
emulator=$!
touch "$work/serial"
tail -f -n +1 --pid="$emulator" "$work/serial" | sed -u 's/\r$//; /^ended:/q'
grep -q '^ended: 0' "$work/serial" || { echo "failed; the emulator said:"; tail -n 5 "$work/out" "$work/log"; exit 1; }
