"""A Transformer block with 8-bit matrix products after its Derfs: accuracy and time beside dynamic quantization.

    python examples/quantized_vit.py

Derf is bounded, so the scale of its 8-bit output follows from its parameters: nothing is measured at run time, and the
layer writes int8 itself. Dynamic quantization reads the output of the norm again to find its range, and once more to
round it. The two products after the norms (qkv and fc1) are quantized here; the others stay as they are.
"""

import copy
import statistics
import time

import derf
import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A pre-norm block of a ViT."""

    def __init__(self, width: int = 768, heads: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = derf.Derf(width), derf.Derf(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


def with_derf(block: Block, dtype: torch.dtype) -> Block:
    """The block with 8-bit outputs of its Derfs, and the products that read them."""
    block = copy.deepcopy(block)
    for norm, linear in (("norm1", "qkv"), ("norm2", "fc1")):
        quantized = derf.QuantizedNorm(getattr(block, norm), dtype)
        setattr(block, linear, derf.QuantizedLinear(getattr(block, linear), quantized))
        setattr(block, norm, quantized)
    return block


class DynamicLinear(nn.Module):
    """An int8 product whose input is rounded as it comes: a scale for each row, from its largest element."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1) / 127
        self.register_buffer("weight", (linear.weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        product = torch._int_mm((rows / scale).round().to(torch.int8), self.weight.t())
        return (product * scale * self.scale + self.bias).reshape(*x.shape[:-1], -1)


def dynamic(block: Block) -> Block:
    block = copy.deepcopy(block)
    block.qkv, block.fc1 = DynamicLinear(block.qkv), DynamicLinear(block.fc1)
    return block


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    block = Block().eval()
    for norm in (block.norm1, block.norm2):
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.1, 0.1)
    x = torch.randn(8, 197, 768)
    blocks = {"float32": block, "dynamic int8": dynamic(block), "Derf to int8": with_derf(block, torch.int8)}
    blocks["Derf to float8_e4m3fn"] = with_derf(block, torch.float8_e4m3fn)
    expected = block(x)
    times: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(7):  # in turn: a machine's speed changes
        for name, each in blocks.items():
            begin = time.perf_counter()
            each(x)
            times[name].append(time.perf_counter() - begin)
    print(f"{'block':24}{'relative error':>16}{'ms':>10}")
    for name, each in blocks.items():
        error = (each(x) - expected).norm() / (expected - x).norm()
        print(f"{name:24}{error:16.5f}{1e3 * statistics.median(times[name]):10.1f}")


if __name__ == "__main__":
    main()
