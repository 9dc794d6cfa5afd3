"""ViT: timm's VisionTransformer classifies handwritten digits and letters of fonts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import images
from .system import Base, Batch, Scale, generator


class System(Base):
    name, title, recipe = "vit", "ViT", "vit"
    measure, higher_is_better = "accuracy, %", True
    trivial = 3.5835  # the logarithm of 36 classes
    ema = 0.98
    warmup = 0.07  # 20 of 300 epochs
    scales = {
        "smoke": Scale(width=32, depth=1, steps=6, batch=16, lrs=(1e-3, 4e-3), held_out=1),
        "default": Scale(width=64, depth=4, steps=600, batch=64, lrs=(2e-3, 4e-3, 8e-3)),
        "gpu": Scale(width=384, depth=12, steps=20000, batch=1024, lrs=(5e-4, 1e-3, 2e-3, 4e-3)),
    }

    def build(self, width: int, depth: int) -> nn.Module:
        from timm.models import VisionTransformer

        sizes = {"embed_dim": width, "depth": depth, "num_heads": max(1, width // 32)}
        data = {"img_size": images.SIZE, "patch_size": 4, "in_chans": 1, "num_classes": images.CLASSES}
        # Xavier's initialization goes by the width; the usual 0.02 is for widths of many hundreds.
        return VisionTransformer(**sizes, **data, global_pool="avg", weight_init="jax")

    def batch(self, split: str, seed: int, index: int) -> Batch:
        return images.batch(split, self.scale.batch, generator("vit", split, seed, index))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        """Of all images of the split, once."""
        device = next(model.parameters()).device
        pictures, labels = (part.to(device) for part in images.data(split))
        logits = torch.cat([model.eval()(part) for part in pictures.split(256)])
        accuracy = (logits.argmax(-1) == labels).double().mean().item()
        return {"loss": F.cross_entropy(logits, labels).item(), self.measure: 100 * accuracy}
