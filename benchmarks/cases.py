"""What is measured: cases, and for each process (allocator, instruction set) its jobs. Imports no torch."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from .gpu_report import MODELS

# With glibc's defaults each large tensor is fresh memory, which the kernel clears page by page: that would be most of
# the time of every provider but the copy. A training process reaches this state on its own only in part.
WARM_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "10000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}
SHAPES = {**MODELS, "LLaMA-7B, 8 sequences": (16384, 4096)}
MIB = 1 << 20
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
SWEEP = [1 << exponent for exponent in (10, 12, 14, 16, 18, 20, 21, 22, 23, 24, 25, 26, 28, 29)]
WHATS = ["inference", "forward", "backward", "forward+backward"]
HELD = "held"  # bytes between forward and backward, beside what is timed

CLOSE = ["derf", "F.layer_norm"]
EAGER = [*CLOSE, "F.rms_norm", "eager Derf", "eager DyT"]
EVERY = [*CLOSE, "F.rms_norm", "compiled Derf", "eager Derf", "compiled DyT", "eager DyT"]
END_TO_END = ["ViT-B of timm", "GPT-2 of Transformers"]


@dataclass(frozen=True)
class Setting:
    """What needs a process of its own."""

    allocator: str = "warm"  # or "default"
    capability: str = "native"  # or a value of ATEN_CPU_CAPABILITY


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool = False

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * BYTES[self.dtype]


@dataclass(frozen=True)
class Job:
    case: Case
    threads: int
    whats: list[str]
    providers: list[str]
    seconds: float  # for each provider

    def as_dict(self) -> dict:
        return {**asdict(self), "case": {**asdict(self.case), "bytes": self.case.bytes}}


def model_cases(dtype: str) -> Iterator[Case]:
    for name, shape in SHAPES.items():
        if len(shape) == 4:
            yield Case(f"{name}, NCHW", shape, dtype)
            yield Case(f"{name}, channels_last", shape, dtype, channels_last=True)
        else:
            yield Case(name, shape, dtype)


def sweep_cases(dtype: str, largest: int = SWEEP[-1]) -> Iterator[Case]:
    for size in SWEEP:
        elements = size // BYTES[dtype]
        channels = min(1024, elements)
        if size <= largest:
            yield Case("sweep", (elements // channels, channels), dtype)


def plan(dtypes: list[str], threads: int, quick: bool, only: str = "") -> dict[Setting, list[Job]]:
    jobs = (quick_plan if quick else full_plan)(dtypes, threads)
    return {
        setting: chosen
        for setting, those in jobs.items()
        if (chosen := [job for job in those if only.lower() in job.case.name.lower()])
    }


def full_plan(dtypes: list[str], threads: int) -> dict[Setting, list[Job]]:
    ends = ["forward", "forward+backward"]
    models = [case for dtype in dtypes for case in model_cases(dtype)]
    sweep = [case for dtype in dtypes for case in sweep_cases(dtype)]
    whole = [Case(name, (), "float32") for name in END_TO_END]
    large = [case for case in models if case.bytes >= 8 * MIB]
    some = [case for case in models if case.bytes < 64 * MIB and len(case.shape) == 2]
    warm = [Job(case, threads, [*WHATS, HELD], EVERY, 0.3) for case in models]
    if threads > 1:
        # Slow peers on one thread would take the largest part of the time, and show nothing that is not seen elsewhere.
        warm += [Job(case, 1, WHATS, EAGER if case.bytes < 8 * MIB else CLOSE, 0.2) for case in models]
    warm += [Job(case, threads, ends, [*CLOSE, "compiled Derf", "eager Derf"], 0.15) for case in sweep]
    warm += [Job(case, threads, ["forward", "training step"], [], 4.0) for case in whole]
    default = [Job(case, threads, ends, EAGER, 0.2) for case in large]
    default += [Job(case, threads, ends, CLOSE, 0.15) for case in sweep]
    forced = [Job(case, threads, ["inference", *ends], CLOSE, 0.2) for case in some]
    return {
        Setting(): warm,
        Setting(allocator="default"): default,
        Setting(capability="avx2"): forced,
        Setting(capability="default"): forced,
    }


def quick_plan(dtypes: list[str], threads: int) -> dict[Setting, list[Job]]:
    """Every row of the target table, from fewer cases; two of them compiled, for that takes most time of all."""
    ends = ["forward", "forward+backward"]
    names = ("ViT-B", "GPT-2, one sequence", "LLaMA-7B", "one token")
    models = [case for dtype in dtypes for case in model_cases(dtype) if case.name in names]
    in_cache = [case for case in models if case.name == "GPT-2, one sequence"]
    large = [case for case in models if case.bytes >= 8 * MIB]
    sweep = [case for dtype in dtypes for case in sweep_cases(dtype, 64 * MIB)][::3]
    warm = [
        Job(case, threads, ["inference", *ends, HELD], [*EAGER[:-1], *["compiled Derf"] * (case in in_cache[:2])], 0.04)
        for case in models
    ]
    if threads > 1:
        warm += [Job(case, 1, ends, CLOSE, 0.05) for case in in_cache]
    warm += [Job(case, threads, ends, CLOSE, 0.03) for case in sweep]
    forced = [Job(case, threads, ends, CLOSE, 0.05) for case in in_cache]
    return {
        Setting(): warm,
        Setting(allocator="default"): [Job(case, threads, ends, CLOSE, 0.05) for case in [*large, *sweep]],
        Setting(capability="avx2"): forced,
        Setting(capability="default"): forced,
    }
