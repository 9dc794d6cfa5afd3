"""How fast Derf is on a CUDA device beside its peers and a copy: `python benchmarks/gpu.py`, four minutes.

All providers run in turn in one process; each figure is a median with its quartiles. Before that they are checked for
the dtype of every result, and the Derfs for the values. The copy, `y.copy_(x)` into a tensor that is there already, is
what the memory allows: it passes over the tensor twice, as forward must; backward must pass over it three times.

Tensors over 8 MiB: one call between two CUDA events, the L2 cache flushed before. Smaller ones: the replay of a CUDA
graph of many calls, so that what the processor does to launch a kernel does not count; they stay in the L2 cache.
"""

import argparse
import json
import math
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import derf
import gpu_report
import torch
import torch._functorch.config as functorch_config
from gpu_providers import LEFT_OUT, Case, Functions, Shape, first_line
from gpu_report import DTYPES, GRID, MODELS, QUICK

HERE = Path(__file__).resolve().parent
DEVICE = "cuda"
WHAT = list(gpu_report.PASSES)
SMALL = 8 * gpu_report.MIB  # bytes of a tensor, at most, for CUDA graphs
GRAPH_CALLS = 50
# A measurement ends after so many seconds, but not before so many rounds.
SECONDS, FEWEST_ROUNDS = 0.4, 10

Round = Callable[[], dict[str, float]]  # one round of all functions in turn: the milliseconds of one call of each


def properties():
    return torch.cuda.get_device_properties(torch.cuda.current_device())


class Events:
    """Times functions on the device. All that is timed runs in the stream of this object: a graph needs one."""

    def __init__(self) -> None:
        least = 2 * properties().L2_cache_size
        # More than the cache needs: while the device writes it, the processor can launch all that is timed next, and
        # the time between the events has no gaps in which the device waits for launches.
        size = max(least, min(1 << 30, torch.cuda.mem_get_info()[0] // 16))
        self.flush = torch.empty(size, dtype=torch.uint8, device=DEVICE)
        self.stream = torch.cuda.Stream()
        self.notes: list[str] = []

    def prepare(self, functions: Functions, small: bool) -> Round:
        for function in functions.values():  # allocates what a call needs, outside of graphs
            function()
        return partial(self._round, self._graphs(functions) if small else functions, GRAPH_CALLS if small else 1)

    def _graphs(self, functions: Functions) -> Functions:
        graphs = {}
        for name, function in functions.items():
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=self.stream):
                    for _ in range(GRAPH_CALLS):
                        function()
            except RuntimeError as error:
                if name in ("copy", "derf"):
                    raise
                self.notes.append(f"{name} left out, no CUDA graph of it: {first_line(error)}")
            else:
                graphs[name] = graph
        return {name: graph.replay for name, graph in graphs.items()}

    def _round(self, functions: Functions, calls: int) -> dict[str, float]:
        pairs = {name: [torch.cuda.Event(enable_timing=True) for _ in range(2)] for name in functions}
        for name, function in functions.items():
            if calls == 1:
                self.flush.zero_()
            pairs[name][0].record()
            function()
            pairs[name][1].record()
        torch.cuda.synchronize()
        return {name: start.elapsed_time(end) / calls for name, (start, end) in pairs.items()}


def measure(one_round: Round, repeats: int) -> dict[str, dict[str, float]]:
    """Median and quartiles of each function; the first round does not count."""
    one_round()
    milliseconds: dict[str, list[float]] = {}
    end = time.perf_counter() + SECONDS
    for done in range(repeats):
        if done >= FEWEST_ROUNDS and time.perf_counter() > end:
            break
        for name, value in one_round().items():
            milliseconds.setdefault(name, []).append(value)
    return {name: gpu_report.summary(values) for name, values in milliseconds.items()}


def measurements(case: Case, timer: Events, repeats: int) -> Iterator[dict]:
    small = case.bytes <= SMALL
    for what in WHAT:
        for name, timed in measure(timer.prepare(case.functions(what), small), repeats).items():
            facts = {"shape": list(case.shape), "dtype": case.dtype, "bytes": case.bytes, "graph": small}
            yield {**facts, "what": what, "provider": name, **timed}


def with_progress(items: list[tuple[str, Shape]]) -> Iterable[tuple[str, Shape]]:
    try:
        from rich.progress import track
    except ImportError:
        return items
    return track(items, description="measuring", transient=True)


def run(
    timer: Events,
    cases: list[tuple[str, Shape]],
    repeats: int,
    seconds: float,
    device: str = "cuda",
    save: Callable[[dict], None] = lambda report: None,
) -> dict:
    """Measure what fits in the memory and in the time; what does not is noted, and where derf fails, that.

    ``save`` gets the report after each case: what comes later may end the process.
    """
    report = {"measurements": [], "notes": list(LEFT_OUT), "failures": []}
    start = time.perf_counter()
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else 1 << 30
    for dtype, shape in with_progress(cases):
        # Each case holds input, gradient, copy and a result at least, and some peers as much again and again.
        needed = 4 * getattr(torch, dtype).itemsize * math.prod(shape)
        why = f"{needed / 2**30:.1f} GiB are over a third of the free memory" if needed > free / 3 else ""
        if time.perf_counter() - start > seconds:
            why = f"{seconds:.0f} s are over"
        if why:
            report["notes"].append(f"{shape}, {dtype} left out: {why}")
            continue
        torch.compiler.reset()  # or it would keep the code, and after some shapes compile no more
        try:
            case = Case(shape, dtype, device)
            report["measurements"] += measurements(case, timer, repeats)
        except Exception as error:  # one case that fails must not hide the others
            traceback.print_exc()
            report["failures"].append(f"{shape}, {dtype}: {type(error).__name__}: {first_line(error)}")
        else:
            report["notes"] += case.notes
        case = None  # its tensors make room for the next one's
        save(report)
    report["notes"] += dict.fromkeys(timer.notes)
    return report


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def clocks() -> dict[str, float]:
    device = properties()
    found = {name: getattr(device, name) for name in ("clock_rate", "memory_clock_rate") if hasattr(device, name)}
    try:
        return {**found, "clock_rate_now": torch.cuda.clock_rate()}
    except Exception:  # torch asks a package for it that need not be there, and a driver that need not tell
        return found


def facts() -> dict[str, object]:
    device = properties()
    return {
        "gpu": device.name,
        "memory_bytes": device.total_memory,
        "l2_cache_bytes": device.L2_cache_size,
        "driver": driver(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "derf": derf.show_config().splitlines(),
        "clocks": clocks(),
    }


def why_not() -> str | None:
    """What keeps this benchmark from running here."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    no_kernels = next((line for line in derf.show_config().splitlines() if line.startswith("CUDA kernels: no")), None)
    return no_kernels and f"this derf was built without them: {no_kernels}"


def plot(report: dict, stem: Path) -> None:
    try:
        paths = gpu_report.plot(report, stem)
    except ImportError as error:
        print(f"no plots: {error}; later: python benchmarks/gpu.py --plot {stem}.json")
    else:
        print("plots:", *paths)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--quick", action="store_true", help="five shapes in bfloat16")
    parser.add_argument("--repeats", type=int, default=50, help="rounds to take the median of (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=210, help="start no case after these (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="for JSON and plots (default: benchmarks/results)")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.json", help="only draw the plots of an earlier run, anywhere"
    )
    arguments = parser.parse_args()
    # A retained graph is run more than once, and the compiled one must not write over what it has saved.
    functorch_config.donated_buffer = False
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    if arguments.plot:
        stem = (arguments.out or arguments.plot.parent) / arguments.plot.stem
        stem.parent.mkdir(parents=True, exist_ok=True)
        plot(json.loads(arguments.plot.read_text()), stem)
        return 0
    if reason := why_not():
        print(f"benchmarks/gpu.py needs a CUDA device and derf's kernels for it, but {reason}", file=sys.stderr)
        return 2
    cases = [(dtype, shape) for shapes in (MODELS.values(), GRID) for dtype in DTYPES for shape in shapes]
    if arguments.quick:
        cases = [(DTYPES[0], shape) for shape in QUICK]
    timer, known = Events(), {"facts": facts()}
    stem = (arguments.out or HERE / "results") / f"cuda-{gpu_report.slug(known['facts']['gpu'])}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = stem.with_name(f"{stem.name}.json")

    def save(report: dict) -> None:
        path.write_text(gpu_report.dumps({**known, **report}))

    with torch.cuda.stream(timer.stream):
        report = {**known, **run(timer, cases, arguments.repeats, arguments.seconds, DEVICE, save)}
    save(report)
    plot(report, stem)
    print(json.dumps(report["facts"], indent=1))
    gpu_report.print_report(report)
    print("written:", path)
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
