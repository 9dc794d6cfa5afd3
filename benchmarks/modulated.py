"""The norm of adaLN with its modulation: derf.ModulatedDerf beside LayerNorm and Derf with the modulation behind them.

    python -m benchmarks.modulated [--dtype bfloat16] [--batch 8] [--no-compiled]

scale and shift are chunks of one tensor [B, 6 C], whose gradient is wanted too. Providers run in turn in one process,
whose allocator is warm (`cases.py` says why); figures are ratios of medians, in multiples of ModulatedDerf's time.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial

import derf
import torch
from torch import Tensor
from torch.nn import functional as F

from .cases import WARM_ALLOCATOR
from .gpu_report import print_table
from .measure import measure

SECONDS = 1.0  # for each
SHAPES = {"DiT-B/2": (256, 768), "DiT-XL/2": (256, 1152), "SD3, 1024 pixels": (4096, 1536)}  # tokens, channels
Provider = Callable[[Tensor, Tensor], Tensor]


def layer_norm(x: Tensor, condition: Tensor) -> Tensor:
    shift, scale, *_ = condition.chunk(6, dim=1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]


def unfused(layer: derf.Derf, x: Tensor, condition: Tensor) -> Tensor:
    shift, scale, *_ = condition.chunk(6, dim=1)
    return layer(x) * (1 + scale[:, None]) + shift[:, None]


def fused(layer: derf.ModulatedDerf, x: Tensor, condition: Tensor) -> Tensor:
    shift, scale, *_ = condition.chunk(6, dim=1)
    return layer(x, scale, shift)


def providers(layer: derf.ModulatedDerf, with_compiled: bool) -> dict[str, Provider]:
    found = {"own": partial(fused, layer), "LayerNorm": layer_norm, "Derf": partial(unfused, layer)}
    return found | {"compiled LayerNorm": torch.compile(layer_norm, dynamic=False)} if with_compiled else found


def row(name: str, batch: int, dtype: torch.dtype, with_compiled: bool) -> list[str]:
    """ModulatedDerf's milliseconds and the others' in multiples of it: forward, and forward + backward."""
    torch.manual_seed(0)
    torch.compiler.reset()
    tokens, channels = SHAPES[name]
    layer = derf.ModulatedDerf(channels, dtype=dtype)
    x = torch.randn(batch, tokens, channels).to(dtype).requires_grad_()
    condition = (0.1 * torch.randn(batch, 6 * channels)).to(dtype).requires_grad_()
    gradient = torch.randn(x.shape).to(dtype)
    calls = providers(layer, with_compiled)
    torch.testing.assert_close(calls["own"](x, condition), calls["Derf"](x, condition), rtol=0.05, atol=0.05)

    def forward(call: Provider) -> Tensor:
        with torch.no_grad():
            return call(x, condition)

    def both(key: str, call: Provider) -> tuple[Tensor, ...]:
        parameters = [] if "LayerNorm" in key else [layer.alpha, layer.shift]
        return torch.autograd.grad(call(x, condition), [x, condition, *parameters], gradient)

    cells = [f"{name}, {batch} x {tokens} x {channels}"]
    for run in (lambda key, call: partial(forward, call), lambda key, call: partial(both, key, call)):
        timed = measure({key: run(key, call) for key, call in calls.items()}, SECONDS)
        own = timed["own"].median
        cells.append(f"{1e3 * own:.2f}")
        cells += [f"{timed[key].median / own:.2f}" if key in timed else "-" for key in PEERS]
    return cells


PEERS = ("LayerNorm", "compiled LayerNorm", "Derf")


def main() -> None:
    if not WARM_ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WARM_ALLOCATOR})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modulated", description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16", "float64"], default="float32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--no-compiled", action="store_true", help="leave out torch.compile")
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    lines = [row(name, arguments.batch, dtype, not arguments.no_compiled) for name in SHAPES]
    print(derf.show_config(), end="\n\n")
    header = [
        "shape",
        *(f"{what} {peer}" for what in ("forward", "both") for peer in ("(ms)", *(f"{p} /" for p in PEERS))),
    ]
    print(arguments.dtype)
    print_table(header, lines)


if __name__ == "__main__":
    main()
