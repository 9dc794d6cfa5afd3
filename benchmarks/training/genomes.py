"""DNA by a rule: a Markov chain of order 2, with a motif planted on either strand.

Each sequence has one of four motifs of 10 bases, some of whose bases are mutated, forwards or as its reverse
complement. Which one it is, is to be found out.
"""

from functools import cache

import torch
from torch import Tensor

LENGTH, MOTIF, FAMILIES, MUTATION = 46, 10, 4, 0.05
ASK, FIRST_ANSWER, HIDDEN = 5, 6, 4  # tokens after A, C, G, T: N hides a base
SIZES = {"train": 4096, "validation": 512, "test": 512}


def reverse_complement(bases: Tensor) -> Tensor:
    """A, C, G, T are 0, 1, 2, 3."""
    return 3 - bases.flip(-1)


@cache
def rule() -> tuple[Tensor, Tensor]:
    """Probabilities of the next base [4, 4, 4], motifs [4, 10]."""
    random = torch.Generator().manual_seed(2512)
    chain = torch.randn(4, 4, 4, generator=random).mul(0.8).softmax(-1)
    return chain, torch.randint(4, (FAMILIES, MOTIF), generator=random)


@cache
def data(split: str) -> tuple[Tensor, Tensor]:
    """Bases [N, 46] and the planted motif [N] of train, validation or test; always the same."""
    chain, motifs = rule()
    count, random = SIZES[split], torch.Generator().manual_seed(len(split))
    bases = torch.randint(4, (count, LENGTH), generator=random)
    for place in range(2, LENGTH):
        chances = chain[bases[:, place - 2], bases[:, place - 1]]
        bases[:, place] = torch.multinomial(chances, 1, generator=random)[:, 0]
    family = torch.randint(FAMILIES, (count,), generator=random)
    planted = motifs[family]
    mutated = torch.rand(planted.shape, generator=random) < MUTATION
    planted = torch.where(mutated, torch.randint(4, planted.shape, generator=random), planted)
    other_strand = torch.rand(count, 1, generator=random) < 0.5
    planted = torch.where(other_strand, reverse_complement(planted), planted)
    start = torch.randint(LENGTH - MOTIF + 1, (count, 1), generator=random)
    return bases.scatter(1, start + torch.arange(MOTIF), planted), family


def batch(split: str, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Bases and motifs drawn from a split; in training half of them are turned into their reverse complements."""
    bases, family = data("train" if split == "fit" else split)
    chosen = torch.randint(len(bases), (size,), generator=random)
    bases = bases[chosen]
    if split == "train":
        turned = torch.rand(size, 1, generator=random) < 0.5
        bases = torch.where(turned, reverse_complement(bases), bases)
    return bases, family[chosen]
