"""What nvcc made of the CUDA kernels, read off the installed library: no GPU is needed.

A pointwise kernel runs at the speed of memory as long as its instructions take less time than its bytes. An H200 has 27
issue slots an element before a bfloat16 forward stops waiting for memory, and 41 before a backward does.
"""

import collections
import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import derf
import pytest
from derf import _library

LIBRARY = Path(derf.__file__).resolve().parent / f"libderf_{_library.tag()}.so"
BUILT = re.search(r"CUDA kernels: yes \(nvcc [\d.]+: (.*)\)", derf.show_config())
pytestmark = pytest.mark.skipif(not BUILT, reason="this build has no CUDA kernels, see python -m derf")

KERNEL = re.compile(
    r"(forward|backward)_kernelI\w*?3ErfE(NS_8BFloat16E|NS_4HalfE|f|d)(?:NS_\w+?E|S\d_|f|d)Li(\d+)ELb([01])E"
)
TYPES = {"NS_8BFloat16E": "bfloat16", "NS_4HalfE": "float16", "f": "float32", "d": "float64"}
Kernel = collections.namedtuple("Kernel", "direction dtype width by_channel")

# Instructions for an element in the loop over rows, everything in that loop counted: loads, conversions, addresses.
BUDGET = {
    ("forward", "bfloat16"): 20,
    ("forward", "float16"): 20,
    ("forward", "float32"): 36,
    ("backward", "bfloat16"): 36,
    ("backward", "float16"): 38,
    ("backward", "float32"): 54,
}


def cuobjdump(*arguments):
    """Output of the tool, which CUDA's toolkit and the Triton that comes with torch have."""
    folders = [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    if home := os.environ.get("CUDA_HOME"):
        folders.append(f"{home}/bin")
    try:
        import triton

        folders.append(str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin"))
    except ImportError:
        pass
    tool = shutil.which("cuobjdump", path=os.pathsep.join(folders))
    if not tool:
        pytest.skip("needs cuobjdump, of CUDA's toolkit or of Triton")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=True).stdout


@functools.cache
def functions():
    """{architecture: {mangled name: [(address, instruction)]}} of all kernels."""
    found, current = collections.defaultdict(dict), []
    architecture = None
    for line in cuobjdump("-sass", str(LIBRARY)).splitlines():
        if match := re.match(r"\s*arch = (sm_\w+)", line):
            architecture = match[1]
        elif match := re.match(r"\s*Function : (\S+)", line):
            current = found[architecture][match[1]] = []
        elif match := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", line):
            current.append((int(match[1], 16), match[2]))
    return found


def kernels():
    """(architecture, Kernel, instructions) of each forward and backward kernel."""
    for architecture, each in functions().items():
        for name, instructions in each.items():
            if match := KERNEL.search(name):
                direction, dtype, width, by_channel = match.groups()
                yield architecture, Kernel(direction, TYPES[dtype], int(width), by_channel == "1"), instructions


def loop(instructions):
    """The instructions of the innermost loop with the most loads from global memory."""
    loops = {}
    for address, text in instructions:
        match = re.search(r"\bBRA\S* .*?0x([0-9a-f]+)", text)
        if match and int(match[1], 16) < address:
            body = [t for a, t in instructions if int(match[1], 16) <= a <= address]
            if any("LDG" in t for t in body):
                loops[int(match[1], 16), address] = body
    innermost = [
        body
        for (begin, end), body in loops.items()
        if not any(begin <= b and e <= end and (b, e) != (begin, end) for b, e in loops)
    ]
    return max(innermost, key=lambda body: sum("LDG" in t for t in body))


def test_each_kernel_is_there_for_each_architecture():
    wanted = set(BUILT[1].split())
    assert set(functions()) == wanted
    counted = collections.Counter(architecture for architecture, *_ in kernels())
    # Six pairs of dtypes, two widths, rows or channels, forward or backward.
    assert counted == dict.fromkeys(wanted, 6 * 2 * 2 * 2)


def test_nothing_is_spilled():
    for architecture, each in functions().items():
        for name, instructions in each.items():
            local = [text for _, text in instructions if re.search(r"\b(LDL|STL)\b", text)]
            assert not local, f"{architecture} {name}: {local}"
    usage = re.findall(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", cuobjdump("-res-usage", str(LIBRARY)))
    assert len(usage) == sum(map(len, functions().values()))
    assert all(stack == local == "0" for _, stack, _, local in usage)


def test_wide_kernels_load_and_store_128_bits_at_a_time():
    seen = 0
    for architecture, kernel, instructions in kernels():
        if kernel.width > 1:
            memory = [text for text in loop(instructions) if re.search(r"\b(LDG|STG)\b", text.replace(".", " "))]
            assert memory and all(".128" in text for text in memory), f"{architecture} {kernel}: {memory}"
            seen += 1
    assert seen


@pytest.mark.parametrize(("direction", "dtype"), BUDGET)
def test_instructions_for_an_element(direction, dtype):
    seen = 0
    for architecture, kernel, instructions in kernels():
        if kernel.width > 1 and (kernel.direction, kernel.dtype) == (direction, dtype):
            body = loop(instructions)
            loads = sum("LDG" in text for text in body)
            elements = loads * kernel.width // (2 if direction == "backward" else 1)
            count = len(body) / elements
            print(f"{architecture} {kernel}: {count:.1f} instructions an element")
            assert count <= BUDGET[direction, dtype], f"{architecture} {kernel}: {count:.1f}"
            seen += 1
    assert seen


def test_no_double_precision_arithmetic_beside_float64():
    for architecture, kernel, instructions in kernels():
        if kernel.dtype != "float64":
            double = [text for _, text in instructions if re.search(r"\bD(ADD|FMA|MUL|SETP)\b", text)]
            assert not double, f"{architecture} {kernel}: {double}"
