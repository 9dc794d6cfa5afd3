"""Cycles an element of derf's NEON kernels and of F.layer_norm's loops, on Arm processors that are not there.

    python -m benchmarks.neon_cycles [--cpu neoverse-n1,neoverse-v2] [--rows 8] [--channels 768]

An emulator runs both, compiled by the same compiler, and notes each instruction; llvm-mca says how many cycles a
processor needs for that sequence: all data in the nearest cache, every branch foreseen. So these are bounds of the
arithmetic, not measurements, and as good as LLVM's model of the processor ("apple-m1" is that of a much older core).
Prints a table in Markdown.

Needs aarch64-linux-gnu-g++, qemu-aarch64-static and llvm-mca, of LLVM 19 or newer (--mca names it).
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).parent
FLAGS = ["-std=c++20", "-O3", "-DNDEBUG", "-g0", "-w", "-isystem", str(Path(torch.__file__).parent / "include")]
PROCESSORS = "neoverse-n1,neoverse-v1,neoverse-v2,apple-m1"


def run(*command, text=None):
    """Standard output of a command."""
    done = subprocess.run([str(part) for part in command], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr[-2000:]}")
    return done.stdout


def compiled(compiler, directory):
    """The program with both sides; each side as its project compiles it."""
    kinds = {
        "derf": [
            "-ffp-contract=off",
            "--param=sra-max-scalarization-size-Ospeed=4096",
            "-DCPU_CAPABILITY=NEON",
            "-DCPU_CAPABILITY_NEON",
        ],
        "layer_norm": ["-DCPU_CAPABILITY=DEFAULT", "-DCPU_CAPABILITY_DEFAULT"],
        "main": [],
    }
    for name, flags in kinds.items():
        run(compiler, *FLAGS, *flags, "-c", HERE / f"{name}.cpp", "-o", directory / f"{name}.o")
    objects = [directory / f"{name}.o" for name in kinds]
    # ATen's headers name functions of libraries that these loops do not call.
    run(compiler, "-static", "-Wl,--unresolved-symbols=ignore-all", *objects, "-o", directory / "program")
    return directory / "program"


def executed(program, rows, channels):
    """For each of the functions the instructions of its last call."""
    log = program.with_name("log")
    run("qemu-aarch64-static", "-singlestep", "-d", "exec,nochain", "-D", log, program, rows, channels)
    text, starts = {}, {}
    for line in run("aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", program).splitlines():
        if name := re.match(r"([0-9a-f]+) <((?:derf|layer_norm)_\w+)>:$", line):
            starts[int(name[1], 16)] = name[2]
        elif instruction := re.match(r"\s+([0-9a-f]+):\t([^/]*)", line):
            text[int(instruction[1], 16)] = instruction[2].strip()
    with log.open() as lines:
        counters = [int(line.split("/")[1], 16) for line in lines if line.startswith("Trace")]
    calls = {}
    for i, counter in enumerate(counters):
        if counter in starts:
            back = counters[i - 1] + 4  # where the caller goes on
            calls[starts[counter]] = [text[c] for c in counters[i : counters.index(back, i)]]
    return calls


def cycles(mca, processor, instructions):
    """Of a sequence, by llvm-mca, which is to see no address."""
    with_address = re.compile(r"(b|bl|b\.\w+|cbn?z|tbn?z|adrp?)\s")
    lines = (re.sub(r"[0-9a-f]+( <.*>)?$", "1f", i) if with_address.match(i) else i for i in instructions)
    options = ["-mtriple=aarch64", f"-mcpu={processor}", "-iterations=1", "-instruction-info=0", "-resource-pressure=0"]
    return int(re.search(r"Total Cycles:\s+(\d+)", run(mca, *options, text="\n".join(lines) + "\n1:\n"))[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", default=PROCESSORS, help="processors, by llvm-mca's names, with commas between them")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--compiler", default="aarch64-linux-gnu-g++")
    parser.add_argument("--mca", default="llvm-mca-19")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        calls = executed(compiled(arguments.compiler, Path(directory)), arguments.rows, arguments.channels)
    processors = arguments.cpu.split(",")
    print("| cycles an element: F.layer_norm / derf = times as fast |", " | ".join(processors), "|")
    print("| --- |" + " --- |" * len(processors))
    elements = arguments.rows * arguments.channels
    for dtype in ("float32", "bfloat16"):
        for direction in ("forward", "backward"):
            cells = []
            for processor in processors:
                both = [
                    cycles(arguments.mca, processor, calls[f"{side}_{direction}_{dtype}"]) / elements
                    for side in ("layer_norm", "derf")
                ]
                cells.append(f"{both[0]:.2f} / {both[1]:.2f} = {both[0] / both[1]:.2f}")
            print(f"| {dtype}, {direction} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
