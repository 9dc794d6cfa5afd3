"""Starts and changes with which the authors trained their models, by name.

From the code of "Stronger Normalization-Free Transformers" (arXiv 2512.10938) at commit 8dd9ea3. Its authors did not
train LLaMA: that recipe is from the code of "Transformers without Normalization" (arXiv 2503.10622), whose layer, DyT,
has tanh in the place of erf and no shift. The recipes for function="tanh" are from there.
"""

import fnmatch
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

ChangeModel = Callable[[], None]
_DERF = "github.com/zlab-princeton/Derf:"
_DYT = "github.com/jiachenzhu/DyT:"


class EmbeddingScale(nn.Module):
    """Multiplies by a learnable scalar `scale`, which starts at the square root of the embedding's width."""

    def __init__(self, width: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), math.sqrt(width), device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        return input * self.scale


class ScaledEmbedding(nn.Embedding):
    """An nn.Embedding, whose weight it shares, with a learnable scalar `scale` on what it returns."""

    def __init__(self, embedding: nn.Embedding) -> None:
        options = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
        sizes = embedding.num_embeddings, embedding.embedding_dim
        super().__init__(*sizes, device="meta", **{name: getattr(embedding, name) for name in options})
        weight = embedding.weight
        self.weight = weight
        self.scale = nn.Parameter(
            torch.full((1,), math.sqrt(self.embedding_dim), device=weight.device, dtype=weight.dtype)
        )

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * self.scale


@dataclass(frozen=True)
class Recipe:
    """How a family of models was trained with Derf.

    Args:
        alpha: where alpha starts, by qualified name.
        source: where this is from.
        training: settings that the training needs.
        include: patterns of the names of the norms that are replaced; None for all.
        bias: whether a layer that had no bias gets one.
        shift: whether the layers have a shift.
        scale: finds where a learnable scale of the embeddings goes: what is changed, and the change.
    """

    alpha: float | Callable[[str], float]
    source: str
    training: str
    include: tuple[str, ...] | None = None
    bias: bool = False
    shift: bool = True
    scale: Callable[[nn.Module], list[tuple[str, ChangeModel]]] | None = None


def _ends(name: str, endings: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.rpartition(".")[2], ending) for ending in endings)


def _llama_alpha(name: str) -> float:
    return 0.8 if _ends(name, ("input_layernorm", "attention_norm", "attn_norm", "ln")) else 0.2


def _scale_after_positions(model: nn.Module) -> list[tuple[str, ChangeModel]]:
    """nanoGPT and Transformers call drop(wte(tokens) + wpe(positions)): the sum is scaled before the dropout."""
    changes: list[tuple[str, ChangeModel]] = []
    for name, module in model.named_modules():
        parts = module._modules
        if not {"wte", "wpe", "drop"} <= parts.keys() or _is_scaled(parts["drop"]):
            continue
        weight = parts["wte"].weight
        scale = EmbeddingScale(weight.shape[1], device=weight.device, dtype=weight.dtype)

        def change(parts: dict[str, nn.Module] = parts, scale: EmbeddingScale = scale) -> None:
            parts["drop"] = nn.Sequential(scale, parts["drop"])

        changes.append((f"{_join(name, 'drop')}: a learnable scale of the embeddings before it", change))
    if not changes and not any(isinstance(module, EmbeddingScale) for module in model.modules()):
        raise ValueError(
            "derf: recipe='gpt2' needs a model that has wte, wpe and drop side by side, as nanoGPT's and Transformers' "
            f"GPT-2 have, but {type(model).__qualname__} has not"
        )
    return changes


def _is_scaled(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and isinstance(module[0], EmbeddingScale)


def _scale_tokens(model: nn.Module) -> list[tuple[str, ChangeModel]]:
    changes: list[tuple[str, ChangeModel]] = []
    for name, module in model.named_modules():
        for child_name, child in module._modules.items():
            if child_name not in ("embed_tokens", "tok_embeddings") or type(child) is not nn.Embedding:
                continue

            def change(module: nn.Module = module, child_name: str = child_name, child: nn.Embedding = child) -> None:
                module._modules[child_name] = ScaledEmbedding(child)

            changes.append((f"{_join(name, child_name)}: a learnable scale of the embeddings", change))
    if not changes and not any(isinstance(module, ScaledEmbedding) for module in model.modules()):
        raise ValueError(
            "derf: recipe='llama' needs a model with a torch.nn.Embedding called embed_tokens or tok_embeddings, but "
            f"{type(model).__qualname__} has none"
        )
    return changes


def _join(parent: str, child: str) -> str:
    return f"{parent}.{child}" if parent else child


RECIPES: dict[str, Recipe] = {
    "vit": Recipe(
        alpha=0.5,
        source=f"{_DERF} ViT/main.py, ViT/README.md",
        training="AdamW, lr 4e-3, weight decay 0.05 (none on vectors), 300 epochs, 20 of warm-up, batch 4096, "
        "average of the weights (EMA), average pooling; ViT-B drop path 0.15; ViT-L drop path 0.5 and betas 0.9, 0.95",
    ),
    "dit": Recipe(
        alpha=0.5,
        source=f"{_DERF} DiT/train.py, DiT/models.py, DiT/README.md",
        training="alpha=1.0 for DiT-XL; AdamW, lr 1e-4, 2e-4 or 4e-4, no weight decay, batch 256, 80 epochs; the last "
        "layer is not initialized to zero, nor is the modulation of the blocks of L and XL",
    ),
    "wav2vec2": Recipe(
        alpha=0.5,
        include=("*encoder.layer_norm", "*encoder.layers.*"),
        source=f"{_DERF} speech model/dynamic_erf.patch, speech model/wav2vec2_large_librispeech.yaml",
        training="norms first (do_stable_layer_norm=True), float32 (no fp16); Large: Adam, lr 3e-4, betas 0.9, 0.98, "
        "eps 1e-6, weight decay 0.01, 20,000 of 250,000 updates warm-up; Base: as fairseq has it",
    ),
    "dna": Recipe(
        alpha=0.5,
        bias=True,
        source=f"{_DERF} DNA model/dynamic_erf.py, DNA model/dynamic_erf.patch",
        training="as Caduceus' pretraining scripts for HyenaDNA and Caduceus; no fused add and norm",
    ),
    "gpt2": Recipe(
        alpha=1.0,
        bias=True,
        scale=_scale_after_positions,
        source=f"{_DERF} language model/model_derf.patch, language model/train_derf.patch",
        training="as nanoGPT's train_gpt2: AdamW, lr 6e-4; starts of their own for attention, FFN and final norm by "
        'alpha={"*.ln_1": ..., "*.ln_2": ..., "*ln_f": ...}',
    ),
    "llama": Recipe(
        alpha=_llama_alpha,
        scale=_scale_tokens,
        source=f"{_DYT} other_tasks/LLaMA/README.md, other_tasks/LLaMA/fms_fsdp/models/llama.py",
        training="alpha of attention's norms and of the others: 7B 0.8, 0.2; 13B 0.6, 0.15; 34B and 70B 0.2, 0.05; "
        "lr 3e-4, for 34B and 70B 1.5e-4",
    ),
}


# Of the authors of DyT, for function="tanh".
DYT_RECIPES: dict[str, Recipe] = {
    "vit": Recipe(
        alpha=0.5,
        shift=False,
        source=f"{_DYT} dynamic_tanh.py, main.py, README.md",
        training="as with LayerNorm: AdamW, lr 4e-3, weight decay 0.05, 300 epochs, 20 of warm-up, batch 4096",
    ),
    "llama": replace(RECIPES["llama"], shift=False),
}


def recipe_called(name: str, function: object = "erf") -> Recipe:
    """The recipe of a name, for tanh that of DyT's authors where they have one; ValueError where there is none."""
    if not isinstance(name, str) or name not in RECIPES:
        raise ValueError(f"derf: recipe must be one of {', '.join(map(repr, RECIPES))}, but is {name!r}")
    return DYT_RECIPES.get(name, RECIPES[name]) if function == "tanh" else RECIPES[name]
