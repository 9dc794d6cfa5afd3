"""What a system is: a model, its data, its loss, what is measured, and its training settings at each scale."""

import hashlib
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

NAMES = ("vit", "dit", "wav2vec2", "dna", "gpt2")  # each is the module of this name, with a class System
MORE = {"caduceus": ("dna", "Caduceus")}  # not of --all: module and class
Batch = tuple[Tensor, ...]


def generator(*parts: object) -> torch.Generator:
    """Random numbers of their own for whatever the parts say: batch 7 of seed 1 needs no batch before it."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@dataclass(frozen=True)
class Scale:
    """Sizes of model and training."""

    width: int
    depth: int
    steps: int
    batch: int
    lrs: tuple[float, ...]
    held_out: int = 4  # batches that an evaluation takes


class Base:
    """A system at one scale. Splits of the data: train (augmented), fit (the same as it is), validation, test."""

    name: ClassVar[str]
    title: ClassVar[str]
    recipe: ClassVar[str]  # of derf.recipes
    measure: ClassVar[str] = "loss"  # what models are compared by, among what evaluate returns
    higher_is_better: ClassVar[bool] = False
    trivial: ClassVar[float]  # the loss of a model that has learned nothing: a run that ends above it has failed
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    weight_decay: ClassVar[float] = 0.05
    clip: ClassVar[float | None] = None
    ema: ClassVar[float | None] = None  # decay of the average of the weights, which is what is evaluated
    warmup: ClassVar[float] = 0.1  # of the steps
    scales: ClassVar[dict[str, Scale]]

    def __init__(self, scale: str = "default") -> None:
        self.scale_name, self.scale = scale, self.scales[scale]

    def settings(self) -> dict[str, Any]:
        """All that must agree for results to be comparable."""
        names = ("betas", "weight_decay", "clip", "ema", "warmup")
        found = {"scale": self.scale_name, **asdict(self.scale), **{name: getattr(self, name) for name in names}}
        found |= self.data_settings()
        del found["lrs"]  # each run says its own
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def data_settings(self) -> dict[str, Any]:
        return {}

    def make(self, seed: int, width: int | None = None, depth: int | None = None) -> nn.Module:
        """The model with its norms; the seed alone decides its weights."""
        torch.manual_seed(seed)
        return self.build(width or self.scale.width, depth or self.scale.depth)

    def build(self, width: int, depth: int) -> nn.Module:
        raise NotImplementedError

    def batch(self, split: str, seed: int, index: int) -> Batch:
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean over the batch, so that equal shares of it on several processes have it as their mean."""
        raise NotImplementedError

    def batches(self, split: str, device: torch.device | str = "cpu") -> list[Batch]:
        """Those of an evaluation: always the same."""
        batches = [self.batch(split, 0, index) for index in range(self.scale.held_out)]
        return [tuple(part.to(device) for part in batch) for batch in batches]

    @torch.no_grad()
    def mean_loss(self, model: nn.Module, split: str) -> float:
        """In evaluation mode, on data without augmentation."""
        model.eval()
        device = next(model.parameters()).device
        losses = [self.loss(model, batch).double().item() for batch in self.batches(split, device)]
        return sum(losses) / len(losses)

    def evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        return {"loss": self.mean_loss(model, split)}


@cache
def system(name: str, scale: str = "default") -> Base:
    module, kind = MORE.get(name, (name, "System"))
    return getattr(import_module(f"{__package__}.{module}"), kind)(scale)
