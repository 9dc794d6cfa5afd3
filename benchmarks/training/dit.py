"""DiT: diffusers' DiTTransformer2DModel learns to remove noise from digits and letters, given their class."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import images
from .system import Base, Batch, Scale, generator

TIMES, UNCONDITIONAL = 1000, 0.1  # steps of noise; the share of training images whose class is hidden
SAMPLES, SAMPLING_STEPS = 512, 20


@cache
def noise_schedule() -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler(TIMES)


class System(Base):
    name, title, recipe = "dit", "DiT", "dit"
    measure = "denoising loss"
    trivial = 0.99  # of noise of variance 1
    weight_decay, ema = 0.0, 0.98
    scales = {
        "smoke": Scale(width=32, depth=1, steps=6, batch=16, lrs=(1e-3, 4e-3), held_out=1),
        "default": Scale(width=64, depth=3, steps=300, batch=48, lrs=(1e-3, 2e-3, 4e-3)),
        "gpu": Scale(width=384, depth=12, steps=40000, batch=256, lrs=(1e-4, 2e-4, 4e-4)),
    }

    def build(self, width: int, depth: int) -> nn.Module:
        from diffusers import DiTTransformer2DModel

        heads = max(1, width // 32)
        sizes = {"num_attention_heads": heads, "attention_head_dim": width // heads, "num_layers": depth}
        data = {"in_channels": 1, "sample_size": images.SIZE, "patch_size": 4, "num_embeds_ada_norm": images.CLASSES}
        model = DiTTransformer2DModel(**sizes, **data)
        for module in model.modules():
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0  # batch hides the classes, so that every model sees the same
        return model

    def batch(self, split: str, seed: int, index: int) -> Batch:
        """Images, noise, times, and classes; the class CLASSES means none."""
        random, size = generator("dit", split, seed, index), self.scale.batch
        pictures, labels = images.batch(split, size, random)
        noise = torch.randn(pictures.shape, generator=random)
        times = torch.randint(TIMES, (size,), generator=random)
        hidden = torch.rand(size, generator=random) < (UNCONDITIONAL if split == "train" else 0.0)
        return pictures, noise, times, labels.masked_fill(hidden, images.CLASSES)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        pictures, noise, times, labels = batch
        noisy = noise_schedule().add_noise(pictures, noise, times)
        return F.mse_loss(model(noisy, times, labels).sample, noise)

    def evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        smoke = self.scale_name == "smoke"
        made = sample(model, 48 if smoke else SAMPLES, 2 if smoke else SAMPLING_STEPS, split)
        classifier = feature_extractor(10 if smoke else 150)
        real, made = features(classifier, images.data(split)[0]), features(classifier, made)
        return {self.measure: self.mean_loss(model, split), "Fréchet distance": frechet_distance(real, made)}


@torch.no_grad()
def sample(model: nn.Module, count: int, steps: int, split: str) -> Tensor:
    """Images of the classes of a split, from noise that is always the same; DDIM without guidance."""
    from diffusers import DDIMScheduler

    device, random = next(model.parameters()).device, generator("sample", split)
    labels = images.data(split)[1]
    labels = labels[torch.randint(len(labels), (count,), generator=random)].to(device)
    made = torch.randn(count, 1, images.SIZE, images.SIZE, generator=random).to(device)
    scheduler = DDIMScheduler(TIMES)
    scheduler.set_timesteps(steps)
    model.eval()
    for time in scheduler.timesteps:
        times = time.to(device).expand(count)
        noise = torch.cat([model(*part).sample for part in zip(*(t.split(256) for t in (made, times, labels)))])  # noqa: B905
        made = scheduler.step(noise, time, made).prev_sample
    return made.cpu()


@cache
def feature_extractor(steps: int) -> nn.Module:
    """A ViT with LayerNorm, trained here to tell the classes apart."""
    from .vit import System as Vit

    vit = Vit("default")
    model = vit.make(0, depth=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        optimizer.zero_grad()
        vit.loss(model, vit.batch("train", 0, step)).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def features(classifier: nn.Module, pictures: Tensor) -> Tensor:
    parts = [classifier.forward_features(part) for part in pictures.split(256)]
    return torch.cat([classifier.forward_head(part, pre_logits=True) for part in parts]).double()


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Between normal distributions of the means and covariances of two sets of features [N, C]."""
    means = [each.mean(0) for each in (first, second)]
    covariances = [each.T.cov() for each in (first, second)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    distance = (means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * cross
    return distance.item()
