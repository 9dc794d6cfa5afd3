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
import sys
from pathlib import Path

import derf
import pytest
from derf import _library

LIBRARY = Path(derf.__file__).resolve().parent / f"libderf_{_library.tag()}.so"
BUILT = re.search(r"CUDA kernels: yes \(nvcc [\d.]+: (.*)\)", derf.show_config())
pytestmark = pytest.mark.skipif(not BUILT, reason="this build has no CUDA kernels, see python -m derf")

KERNEL = re.compile(
    r"(forward|backward)_kernelINS0_\d+(?:General|Fixed)I(?:NS0_\d(Erf|Tanh)E)?(NS_8BFloat16E|NS_4HalfE|f|d)EELi(\d+)E"
    r"NS0_\d+(Plain|ResidualInput)I(NS_8BFloat16E|NS_4HalfE|f|d|S\d*_)(NS_8BFloat16E|NS_4HalfE|f|d|S\d*_)?E"
)
INPUTS = {"Plain": "plain", "ResidualInput": "added"}
TYPES = {"NS_8BFloat16E": "bfloat16", "NS_4HalfE": "float16", "f": "float32", "d": "float64"}
# function: "erf", "tanh" or, for what serves all else, "any". input: "plain", "added" to a residual of its dtype, or to
# a "wide" one of float32. output: "whole", or "eight" bits
Kernel = collections.namedtuple("Kernel", "direction function dtype width input output")

# Instructions for an element in the loop over rows, everything in that loop counted: loads, conversions, addresses. As
# measured: whoever changes a kernel is to see it here. (A backward's sums go to shared memory outside of it, every 32
# rows: 4 instructions more for an element of 16 bits, 5 of 32.) A forward takes two rows at a time: with four it would
# have one instruction less, but an H100, which has time for 27, was no faster, and slower where tensors are small.
BUDGET = {
    ("forward", "erf", "bfloat16"): 16.3,
    ("forward", "erf", "float16"): 18.4,
    ("forward", "erf", "float32"): 22.6,
    ("backward", "erf", "bfloat16"): 29.7,
    ("backward", "erf", "float16"): 31.7,
    ("backward", "erf", "float32"): 35.9,
    ("forward", "tanh", "bfloat16"): 18.3,
    ("forward", "tanh", "float16"): 18.5,
    ("forward", "tanh", "float32"): 26.3,
    ("backward", "tanh", "bfloat16"): 32.5,
    ("backward", "tanh", "float16"): 32.5,
    ("backward", "tanh", "float32"): 46.6,
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
                direction, function, dtype, width, input, _, sum = match.groups()
                function = (function or "any").lower()
                wide = sum == "f" and dtype != "f"
                kernel = Kernel(
                    direction,
                    function,
                    TYPES[dtype],
                    int(width),
                    "wide" if wide else INPUTS[input],
                    "eight" if "5EightI" in name else "whole",
                )
                yield architecture, kernel, instructions


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
    # Erf, tanh, any other; four dtypes, two widths, forward or backward. Of sums six pairs of dtypes: erf, tanh and any
    # other wide, and any other narrow. With 8 bits out the same of both, forward alone. (float64 has no wide one of any
    # other: it would not fit into registers.)
    assert counted == dict.fromkeys(wanted, 3 * 4 * 2 * 2 + 6 * (3 + 1) * 2 - 2 + (4 + 6) * (3 + 1) - 2)


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
        if kernel.output == "eight":
            continue
        if kernel.width > 1 and (kernel.input == "plain" or kernel.function != "any"):
            memory = [text for text in loop(instructions) if re.search(r"\b(LDG|STG)\b", text.replace(".", " "))]
            assert memory and all(".128" in text for text in memory), f"{architecture} {kernel}: {memory}"
            seen += 1
    assert seen


def instructions_for_an_element(kernel, instructions):
    body = loop(instructions)
    loads = sum("LDG" in text for text in body)
    per_row = {("forward", "plain"): 1, ("backward", "plain"): 2, ("forward", "added"): 2, ("backward", "added"): 4}
    return len(body) / (loads * kernel.width // per_row[kernel.direction, kernel.input])


def test_the_model_of_times_counts_these_instructions():
    """benchmarks/gpu_model.py, whose predictions are for sm_90's."""
    import importlib.util

    path = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu_model.py"
    spec = importlib.util.spec_from_file_location("gpu_model", path)
    sys.modules["gpu_model"] = model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    for architecture, kernel, instructions in kernels():
        known = model.INSTRUCTIONS.get((kernel.direction, kernel.dtype))
        is_meant = (kernel.function, kernel.input, kernel.output) == ("erf", "plain", "whole") and kernel.width > 1
        if architecture == "sm_90" and known and is_meant:
            count, body = instructions_for_an_element(kernel, instructions), loop(instructions)
            elements = len(body) / count
            float32 = sum(bool(re.search(r"\b(FFMA|FADD|FMUL)\b", text)) for text in body) / elements
            special = sum("MUFU" in text for text in body) / elements
            assert (known.all, known.float32, known.special) == pytest.approx((count, float32, special), rel=0.02)


# Of a multiprocessor of compute capability 8.0 or 9.0. (12.0 holds 1536 threads.)
REGISTERS, THREADS, BLOCK = 65536, 2048, 256


def test_bytes_in_flight():
    """What the loads of all resident threads ask for at once: 32 KiB a multiprocessor keep an H200's memory busy
    (4.8 TB/s for a microsecond is 36 KB each)."""
    usage = {
        name: int(registers)
        for name, registers in re.findall(r"Function (\S+):\s+REG:(\d+)", cuobjdump("-res-usage", str(LIBRARY)))
    }
    by_kernel = {}
    for name, registers in usage.items():
        if match := KERNEL.search(name):
            by_kernel.setdefault(match[0] + ("eight" if "5EightI" in name else ""), []).append(registers)
    seen = 0
    for architecture, each in functions().items():
        for name, instructions in each.items():
            match = KERNEL.search(name)
            if not match or match[2] is None or int(match[4]) == 1 or TYPES[match[3]] == "float64":
                continue
            registers = max(by_kernel[match[0] + ("eight" if "5EightI" in name else "")])
            blocks = min(THREADS // BLOCK, REGISTERS // (-(-registers // 8) * 8 * BLOCK))
            loads = [text for text in loop(instructions) if "LDG" in text]
            each_thread = sum(16 if ".128" in text else 8 if ".64" in text else 4 for text in loads)
            flight = blocks * BLOCK * each_thread
            print(
                f"{architecture} {match[1]} {match[2]} {TYPES[match[3]]} {match[5]}: {registers} registers,"
                f" {blocks * BLOCK} threads, {flight / 1024:.0f} KiB in flight"
            )
            assert flight >= 32 * 1024, f"{architecture} {name}: {flight}"
            seen += 1
    assert seen


# The same of a sum, whose bytes are twice as many.
ADDED_BUDGET = {
    ("forward", "erf", "bfloat16"): 21.8,
    ("forward", "erf", "float16"): 24,
    ("forward", "erf", "float32"): 26.4,
    ("backward", "erf", "bfloat16"): 37.1,
    ("backward", "erf", "float16"): 39.2,
    ("backward", "erf", "float32"): 43.6,
}


@pytest.mark.parametrize(("input", "budget"), [("plain", BUDGET), ("added", ADDED_BUDGET)], ids=["plain", "added"])
@pytest.mark.parametrize(("direction", "function", "dtype"), BUDGET)
def test_instructions_for_an_element(direction, function, dtype, input, budget):
    seen = 0
    for architecture, kernel, instructions in kernels():
        if kernel.width > 1 and kernel[:3] == (direction, function, dtype) and kernel[4:] == (input, "whole"):
            count = instructions_for_an_element(kernel, instructions)
            print(f"{architecture} {kernel}: {count:.1f} instructions an element")
            assert count <= budget.get((direction, function, dtype), float("inf")), (
                f"{architecture} {kernel}: {count:.1f}"
            )
            seen += 1
    assert seen


# With 8 bits out a loop has the instructions of all three formats, of which a call runs a third: about 22 an element.
EIGHT_BUDGET = {("bfloat16", "plain"): 29.5, ("bfloat16", "added"): 34.7, ("float32", "plain"): 33.4}


@pytest.mark.parametrize(("dtype", "input"), EIGHT_BUDGET)
def test_instructions_with_eight_bits_out(dtype, input):
    seen = 0
    for architecture, kernel, instructions in kernels():
        if kernel.width > 1 and kernel[1:3] == ("erf", dtype) and kernel[4:] == (input, "eight"):
            count = instructions_for_an_element(kernel, instructions)
            print(f"{architecture} {kernel}: {count:.1f} instructions an element")
            # What has no instructions for float8 computes both formats.
            budget = EIGHT_BUDGET[dtype, input] + (0 if int(re.sub(r"\D", "", architecture)) >= 89 else 23)
            assert count <= budget, f"{architecture} {kernel}: {count:.1f}"
            seen += 1
    assert seen


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_any_function_is_called_once_for_four_elements(direction):
    seen = 0
    for architecture, kernel, instructions in kernels():
        if kernel.width > 1 and kernel[:2] == (direction, "any") and kernel[4:] == ("plain", "whole"):
            body = loop(instructions)
            rows = sum("LDG" in text for text in body) // (2 if direction == "backward" else 1)
            calls = sum("CALL" in text for text in body)  # sm_80 has one more, in a branch's place
            count = instructions_for_an_element(kernel, instructions)
            print(f"{architecture} {kernel}: {count:.1f} instructions an element beside the function's own")
            assert calls - rows * -(-kernel.width // 4) in (0, 1), f"{architecture} {kernel}: {calls} calls"
            seen += 1
    assert seen


def test_no_double_precision_arithmetic_beside_float64():
    for architecture, kernel, instructions in kernels():
        if kernel.dtype != "float64":
            # Any function: sin of huge numbers, which is rare and no part of the loop, needs some.
            texts = loop(instructions) if kernel.function == "any" else [text for _, text in instructions]
            double = [text for text in texts if re.search(r"\bD(ADD|FMA|MUL|SETP)\b", text)]
            assert not double, f"{architecture} {kernel}: {double}"
