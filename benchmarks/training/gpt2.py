"""GPT-2: Transformers' GPT2LMHeadModel predicts the next byte of the standard library's sources."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..starts.tasks import text
from .system import Base, Batch, Scale, generator

LENGTH = 128


class System(Base):
    name, title, recipe = "gpt2", "GPT-2", "gpt2"
    trivial = 3.16  # nats: the entropy of single bytes of that text
    betas, weight_decay, clip = (0.9, 0.95), 0.1, 1.0  # as nanoGPT has them
    scales = {
        "smoke": Scale(width=32, depth=1, steps=6, batch=4, lrs=(1e-3, 4e-3), held_out=1),
        "default": Scale(width=64, depth=4, steps=250, batch=8, lrs=(2e-3, 4e-3, 8e-3), held_out=8),
        "gpu": Scale(width=768, depth=12, steps=20000, batch=128, lrs=(3e-4, 6e-4, 1.2e-3)),
    }

    def build(self, width: int, depth: int) -> nn.Module:
        from transformers import GPT2Config, GPT2LMHeadModel

        sizes = {"n_embd": width, "n_layer": depth, "n_head": max(1, width // 32), "n_positions": LENGTH}
        off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
        return GPT2LMHeadModel(GPT2Config(vocab_size=256, **sizes, **off))

    def batch(self, split: str, seed: int, index: int) -> Batch:
        data, held_out = text()
        if split in ("validation", "test"):
            data = held_out.chunk(2)[split == "test"]
        random = generator("gpt2", split, seed, index)
        starts = torch.randint(len(data) - LENGTH, (self.scale.batch,), generator=random)
        return (torch.stack([data[start : start + LENGTH] for start in starts.tolist()]),)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        (tokens,) = batch
        logits = model(input_ids=tokens).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
