"""What derf.recompute_outputs saves and costs: bytes that a forward of ViT-B and GPT-2 leaves, and time of a step.

    python -m benchmarks.recompute [--compiled] [--seconds 60]

Blocks of real width (`models.py`), LayerNorms replaced by Derfs. Bytes are what the process has allocated more after a
forward whose loss is kept than before it. A step is forward and backward; with and without take steps in turn in one
process, time is a ratio of medians. `--compiled` asks what torch.compile does on its own, where the hooks do nothing.
Needs timm and Transformers.
"""

import argparse
import copy
import ctypes
import os
import sys
from functools import partial

import derf
import torch
from torch import nn

from .cases import WARM_ALLOCATOR
from .gpu_report import print_table
from .measure import measure
from .models import Loss, gpt2, vit

MIB = 1 << 20


class _Mallinfo(ctypes.Structure):
    names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in names]


def allocated() -> int:
    """Bytes that the process has in use, as glibc counts them."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    now = mallinfo()
    return now.uordblks + now.hblkhd


def kept(model: nn.Module, loss: Loss) -> float:
    """MiB that a forward leaves for the backward."""
    loss(model).backward()  # gradients are there, and what is made once
    before = allocated()
    result = loss(model)
    found = allocated() - before
    del result
    return found / MIB


def step(model: nn.Module, loss: Loss) -> None:
    loss(model).backward()


def rows(compiled: bool, seconds: float) -> list[list[str]]:
    lines = []
    for build in (vit, gpt2):
        torch.manual_seed(0)
        model, loss, what = build()
        norms = copy.deepcopy(model)
        derfs = derf.replace_norm(model)
        saving = copy.deepcopy(derfs)
        layers = derf.recompute_outputs(saving).layers
        models = {"LayerNorm": norms, "Derf": derfs, "Derf, recomputed": saving}
        if compiled:
            models = {name: torch.compile(each) for name, each in models.items()}
        bytes_kept = {name: kept(each, loss) for name, each in models.items()}
        steps = {name: partial(step, each, loss) for name, each in models.items()}
        timed = measure(steps, seconds)
        for name in models:
            share = f"{(bytes_kept['Derf'] - bytes_kept[name]) / layers:.2f}"
            time = timed[name].median / timed["Derf"].median
            lines.append([what, name, f"{bytes_kept[name]:.1f}", share, f"{time:.3f}"])
    return lines


def main() -> None:
    if not WARM_ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WARM_ALLOCATOR})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recompute", description=__doc__.splitlines()[0])
    parser.add_argument("--compiled", action="store_true", help="whole models under torch.compile")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each of the three")
    arguments = parser.parse_args()
    lines = rows(arguments.compiled, arguments.seconds)
    print_table(["model", "norms", "kept (MiB)", "less, each layer", "step / Derf"], lines)


if __name__ == "__main__":
    main()
