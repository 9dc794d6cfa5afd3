"""Blocks of models with Derf: as their code is, after derf.fuse, and compiled without and with derf.compile_passes.

    python -m benchmarks.fuse [--dtype bfloat16] [--batch 8] [--no-compiled]

Milliseconds of the code as it is, and how many times as fast the others are: forward without gradients, and a training
step without optimizer. All run in turn in one process, whose allocator is warm (`cases.py` says why).
"""

import argparse
import copy
import os
import sys
from collections.abc import Callable
from functools import partial

import derf
import torch
from torch import Tensor, nn

from .cases import WARM_ALLOCATOR
from .gpu_report import print_table
from .measure import measure

SECONDS = 1.0  # for each
TOKENS, CHANNELS = 197, 768


def vit_block() -> nn.Module:
    from timm.models.vision_transformer import Block

    return Block(CHANNELS, 12, qkv_bias=True)


def gpt2_block() -> nn.Module:
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block, GPT2Config

    return GPT2Block(GPT2Config(attn_pdrop=0.0, resid_pdrop=0.0, _attn_implementation="sdpa"), layer_idx=0)


class Residual(nn.Module):
    """A residual connection around nothing, between two layers: what fusing can gain where a block computes little."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm1(x)
        return x + self.norm2(x)


BLOCKS = {"ViT-B": vit_block, "GPT-2": gpt2_block, "residuals alone": Residual}


def inference(block: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return block(x)


def training(block: nn.Module, x: Tensor) -> None:
    block(x).sum().backward()
    for parameter in block.parameters():
        parameter.grad = None


def compiled(block: nn.Module, x: Tensor, **options: object) -> nn.Module:
    """The block, compiled now, for both steps. Dynamo shares what it compiled among copies, unless options differ."""
    block = torch.compile(block, dynamic=False, options=options)
    inference(block, x)
    training(block, x)
    return block


def blocks_of(name: str, x: Tensor, with_compiled: bool) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    torch.compiler.reset()
    block = derf.replace_norm(BLOCKS[name]()).to(x.dtype)
    found = {"as it is": block, "fused": copy.deepcopy(block)}
    assert derf.fuse(found["fused"]).fused
    assert torch.equal(block(x), found["fused"](x))
    if with_compiled:
        found["compiled"] = compiled(copy.deepcopy(block), x, max_autotune=False)
        with derf.compile_passes() as passes:
            found["compiled, passes"] = compiled(copy.deepcopy(block), x, pre_grad_custom_pass=passes)
        assert passes.fused
    return found


def row(name: str, batch: int, dtype: torch.dtype, with_compiled: bool) -> list[str]:
    x = torch.randn(batch, TOKENS, CHANNELS, dtype=dtype)
    blocks = blocks_of(name, x, with_compiled)
    cells = [name]
    for step in (inference, training):
        calls: dict[str, Callable[[], object]] = {key: partial(step, each, x) for key, each in blocks.items()}
        times = {key: found.median for key, found in measure(calls, SECONDS).items()}
        before = times.pop("as it is")
        cells += [f"{1e3 * before:.3g}", *(f"{before / time:.2f}" for time in times.values())]
    return cells


def main() -> None:
    if not WARM_ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WARM_ALLOCATOR})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuse", description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--no-compiled", action="store_true", help="leave out torch.compile")
    arguments = parser.parse_args()
    dtype, with_compiled = getattr(torch, arguments.dtype), not arguments.no_compiled
    others = ["fused", *(["compiled", "compiled, passes"] if with_compiled else [])]
    header = ["block", *(cell for step in ("forward", "training") for cell in (f"{step} (ms)", *others))]
    rows = [row(name, arguments.batch, dtype, with_compiled) for name in BLOCKS]
    print(derf.show_config(), end="\n\n")
    print_table(header, rows)


if __name__ == "__main__":
    main()
