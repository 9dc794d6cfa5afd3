"""Whole models: what their norm layers cost end to end, with LayerNorm, RMSNorm, DyT, Derf, and with none at all.

Real configurations at full width, with fewer blocks and small batches so that a laptop finishes; random weights. All
variants start from one model and take their steps in turn.
"""

import copy
from collections.abc import Callable, Iterator

import derf
import torch
from torch import Tensor, nn

from .measure import measure, microseconds

BLOCKS = 4
Loss = Callable[[nn.Module], Tensor]


class DyT(nn.Module):
    """weight * tanh(alpha * x) + bias, as in "Transformers without Normalization" (arXiv 2503.10622)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * torch.tanh(self.alpha * x) + self.bias


def exchange(model: nn.Module, make: Callable[[int], nn.Module]) -> nn.Module:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, make(child.normalized_shape[0]))
    return model


VARIANTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "LayerNorm": lambda model: model,
    "RMSNorm": lambda model: exchange(model, nn.RMSNorm),
    "DyT": lambda model: exchange(model, DyT),
    "Derf": derf.replace_norm,
    "identity": lambda model: exchange(model, lambda channels: nn.Identity()),
}


def vit() -> tuple[nn.Module, Loss, str]:
    import timm

    model = timm.create_model("vit_base_patch16_224", depth=BLOCKS)
    images, labels = torch.randn(4, 3, 224, 224), torch.randint(1000, (4,))
    what = f"vit_base_patch16_224, {BLOCKS} of 12 blocks, 4 images"
    return model, lambda model: nn.functional.cross_entropy(model(images), labels), what


def gpt2() -> tuple[nn.Module, Loss, str]:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=BLOCKS, use_cache=False))
    tokens = torch.randint(50257, (1, 512))
    what = f"GPT-2, {BLOCKS} of 12 blocks, 512 tokens"
    return model, lambda model: model(input_ids=tokens, labels=tokens).loss, what


def training_step(model: nn.Module, loss: Loss) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        loss(model.train()).backward()
        optimizer.step()

    return step


def inference(model: nn.Module, loss: Loss) -> Callable[[], None]:
    @torch.inference_mode()
    def forward() -> None:
        loss(model.eval())

    return forward


def run(name: str, whats: list[str], seconds: float) -> Iterator[tuple[str, object]]:
    torch.manual_seed(0)
    try:
        model, loss, description = (vit if "ViT" in name else gpt2)()
    except ImportError as error:
        yield "notes", f'{name} left out: {error}; pip install ".[benchmark]"'
        return
    variants = {variant: make(copy.deepcopy(model)) for variant, make in VARIANTS.items()}
    for what in whats:
        make = inference if what == "forward" else training_step
        timed = measure({variant: make(model, loss) for variant, model in variants.items()}, seconds)
        times = {variant: microseconds(measurement) for variant, measurement in timed.items()}
        yield "models", {"name": name, "model": description, "what": what, "microseconds": times}
