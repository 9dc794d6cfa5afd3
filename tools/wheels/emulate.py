"""Tries a wheel for 64-bit Arm in QEMU: Debian's Python for Arm, PyTorch's wheel for Arm, and the smoke test.

Nothing is installed: all of it is unpacked into one folder. Needs apt and qemu-user-static.
"""

import shutil
import subprocess
from pathlib import Path

from .debian import unpack
from .torches import uv

PYTHON = "3.13"  # of that Debian
# What torch's library for telling processors apart reads: a Neoverse N1.
CPUINFO = """\
processor : 0
Features : fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer : 0x41
CPU architecture: 8
CPU variant : 0x3
CPU part : 0xd0c
CPU revision : 1
"""


def try_emulated(wheel: Path, torch: str, script: Path, folder: Path) -> None:
    """Run a script where an emulated Python has the wheel and a version of torch.

    Raises:
        FileNotFoundError: if the emulator is missing.
    """
    qemu = shutil.which("qemu-aarch64-static")
    if not qemu:
        raise FileNotFoundError("qemu-aarch64-static is missing: apt-get install qemu-user-static")
    system, site = folder / "system", folder / f"site-{torch}"
    if not (system / "lib").exists():
        _unpack_python(folder / "apt", system)
    platform = ["--python-version", PYTHON, "--python-platform", "aarch64-manylinux_2_28", "--only-binary", ":all:"]
    uv("pip", "install", "--quiet", "--target", site, *platform, f"torch=={torch}", "numpy")
    uv("pip", "install", "--quiet", "--target", site, *platform, "--no-deps", "--reinstall", wheel)
    settings = {
        "LD_LIBRARY_PATH": system / "usr" / "lib" / "aarch64-linux-gnu",
        "PYTHONHOME": system / "usr",
        "PYTHONPATH": site,
        "OMP_NUM_THREADS": "1",
    }
    options = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
    subprocess.run([qemu, "-L", system, *options, system / "usr" / "bin" / f"python{PYTHON}", script], check=True)


def _unpack_python(apt: Path, system: Path) -> None:
    """Debian's Python for Arm and the libraries that it and torch need, in the versions that fit each other."""
    unpack([f"python{PYTHON}", "libstdc++6"], apt, system, architecture="arm64", dependencies=True)
    (system / "proc").mkdir()
    (system / "proc" / "cpuinfo").write_text(CPUINFO)
    (system / "lib").symlink_to("usr/lib")
