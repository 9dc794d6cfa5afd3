"""DNA: models in the manner of HyenaDNA and Caduceus learn bases, and to say which motif a sequence has.

The answer is the token after a question mark, so one forward teaches both. HyenaDNA predicts each next
base; Caduceus, which reads both ways, those that are hidden from it.
"""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import genomes
from .system import Base, Batch, Scale, generator

MODELS = Path(__file__).parents[2] / "tests" / "ecosystem" / "dna_models.py"


@cache
def models() -> ModuleType:
    """Those that the tests have."""
    spec = importlib.util.spec_from_file_location("dna_models", MODELS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class System(Base):
    name, title, recipe = "dna", "DNA (HyenaDNA)", "dna"
    measure, higher_is_better = "accuracy, %", True
    trivial = 2.77  # the logarithm of four bases, and of four motifs
    weight_decay, betas = 0.1, (0.9, 0.999)  # as Caduceus' pretraining scripts have them
    scales = {
        "smoke": Scale(width=16, depth=1, steps=6, batch=8, lrs=(1e-3, 4e-3), held_out=1),
        "default": Scale(width=48, depth=2, steps=350, batch=32, lrs=(2e-3, 4e-3, 8e-3), held_out=8),
        "gpu": Scale(width=256, depth=8, steps=10000, batch=256, lrs=(6e-4, 2e-3, 8e-3)),
    }

    def build(self, width: int, depth: int) -> nn.Module:
        return models().HyenaDNA(width, depth, genomes.LENGTH + 1)

    def batch(self, split: str, seed: int, index: int) -> Batch:
        """Input tokens [B, 47], labels of the bases (-100 where there is none), motifs [B]."""
        bases, family = genomes.batch(split, self.scale.batch, generator("dna", split, seed, index))
        return self.tokens(bases), F.pad(bases[:, 1:], (0, 2), value=-100), family

    def tokens(self, shown: Tensor) -> Tensor:
        return F.pad(shown, (0, 1), value=genomes.ASK)

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of bases, of motifs, and the logits of the motifs."""
        tokens, labels, family = batch
        logits = model(tokens)
        bases = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        answers = logits[:, -1, genomes.FIRST_ANSWER : genomes.FIRST_ANSWER + genomes.FAMILIES]
        return bases, F.cross_entropy(answers, family), answers

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        bases, motifs, _ = self.losses(model, batch)
        return bases + motifs

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        model.eval()
        found = []
        for batch in self.batches(split, next(model.parameters()).device):
            bases, motifs, answers = self.losses(model, batch)
            found.append(torch.stack([bases, motifs, (answers.argmax(-1) == batch[2]).float().mean()]))
        bases, motifs, right = torch.stack(found).double().mean(0).tolist()
        return {"loss": bases + motifs, "loss of bases": bases, self.measure: 100 * right}


class Caduceus(System):
    name, title = "caduceus", "DNA (Caduceus)"
    HIDE = 7  # bases of a sequence, 15 %

    def build(self, width: int, depth: int) -> nn.Module:
        return models().Caduceus(width, depth)

    def batch(self, split: str, seed: int, index: int) -> Batch:
        random = generator("caduceus", split, seed, index)
        bases, family = genomes.batch(split, self.scale.batch, random)
        hidden = torch.rand(bases.shape, generator=random).argsort(-1) < self.HIDE  # as many in each, in any place
        labels = F.pad(bases.masked_fill(~hidden, -100), (0, 1), value=-100)
        return self.tokens(bases.masked_fill(hidden, genomes.HIDDEN)), labels, family
