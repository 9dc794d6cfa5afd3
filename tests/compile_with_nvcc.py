"""The CUDA kernels under every nvcc that PyPI has: `python tests/compile_with_nvcc.py 13.0 13.2 --arch 80 90 120`.

Installs each version into a directory of its own, compiles the kernels for each architecture that it knows, and reads
the machine code: nothing may use local memory. Half a minute of a core for each pair, so no part of the test run.
PyPI has whole compilers from 13.0 on. Of 12.x its package lacks nvcc itself: there a toolkit is named by its folder,
`python tests/compile_with_nvcc.py /usr/local/cuda-12.8`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "build_backend"))
ARCHITECTURES = [80, 86, 89, 90, 100, 120]


def installed(version, directory):
    """The folder of a toolkit: one that is there, or PyPI's of this version."""
    if os.sep in version:
        return Path(version)
    from derf_build import NVCC

    packages = [f"{name}=={version}.*" for name in NVCC]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", directory / version, *packages],
        check=True,
    )
    return directory / version / "nvidia" / f"cu{version.split('.')[0]}"


def compile(toolkit, architecture, output):
    command = [toolkit / "bin" / "nvcc", "-O3", "-std=c++20", "-c", ROOT / "csrc" / "cuda" / "kernels.cu", "-o", output]
    command += [f"--generate-code=arch=compute_{architecture},code=[sm_{architecture}]", "-Xcompiler=-fPIC"]
    return subprocess.run(command, capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("versions", nargs="+", help="of PyPI's nvcc, or folders of toolkits")
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="(default: %(default)s)")
    arguments = parser.parse_args()
    from test_cuda_binary import cuobjdump

    failed = False
    print("| nvcc | | seconds | most registers | local memory |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        for version in arguments.versions:
            toolkit = installed(version, Path(directory))
            listed = subprocess.run(
                [toolkit / "bin" / "nvcc", "--list-gpu-arch"], capture_output=True, text=True, check=True
            )
            for architecture in arguments.arch:
                if f"compute_{architecture}\n" not in listed.stdout + "\n":
                    print(f"| {version} | sm_{architecture} | | | not known to it |")
                    continue
                start, output = time.perf_counter(), Path(directory) / "kernels.o"
                run = compile(toolkit, architecture, output)
                seconds = time.perf_counter() - start
                if run.returncode:
                    print(f"| {version} | sm_{architecture} | {seconds:.0f} | | failed |\n{run.stderr[-3000:]}")
                    failed = True
                    continue
                usage = re.findall(
                    r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", cuobjdump("-res-usage", str(output))
                )
                local = sum(stack != "0" or own != "0" for _, stack, own in usage)
                failed |= bool(local) or not usage
                most = max(int(registers) for registers, _, _ in usage)
                print(f"| {version} | sm_{architecture} | {seconds:.0f} | {most} | {local or 'none'} |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
