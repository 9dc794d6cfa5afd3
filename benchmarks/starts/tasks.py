"""Models, data and one training loop: one thread, fixed seeds, nothing is downloaded."""

import math
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import derf
import torch
from derf.demo import load_data, make_batches
from torch import Tensor, nn
from torch.nn import functional as F


class Digits:
    """10 classes of scikit-learn's digits, 8 x 8 pixels."""

    lr, steps, fine_lr, init = 2e-3, 600, 1e-3, 0.1
    unit = "test accuracy, %"

    def batches(self, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        images, _, labels, _ = load_data()
        return make_batches(images, labels, steps, seed)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(self.logits(model, batch[0]), batch[1])

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> tuple[float, float]:
        """Test loss and accuracy (%)."""
        _, images, _, labels = load_data()
        logits = self.logits(model.eval(), images)
        model.train()
        return F.cross_entropy(logits, labels).item(), 100 * (logits.argmax(-1) == labels).double().mean().item()


class Vit(Digits):
    name = "vit"

    def make(self, seed: int, width: int = 96, depth: int = 4, init: float | None = None) -> nn.Module:
        from transformers import ViTConfig, ViTForImageClassification

        torch.manual_seed(seed)
        shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth}
        data = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
        init = self.init if init is None else init
        config = ViTConfig(**shape, **data, num_attention_heads=width // 32, initializer_range=init)
        return ViTForImageClassification(config)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return model(pixel_values=images).logits


class ConvNext(Digits):
    """Depth-wise convolutions, norms of [N, C, H, W] in the stem and of [N, H, W, C] in the blocks."""

    name = "convnext"

    def make(self, seed: int, width: int = 64, depth: int = 3, init: float | None = None) -> nn.Module:
        from transformers import ConvNextConfig, ConvNextForImageClassification

        torch.manual_seed(seed)
        config = ConvNextConfig(
            num_channels=1, patch_size=1, image_size=8, hidden_sizes=[width, 2 * width], depths=[depth, depth],
            num_stages=2, num_labels=10, layer_scale_init_value=1.0, initializer_range=init or self.init,
        )  # fmt: skip
        return ConvNextForImageClassification(config)

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return model(pixel_values=images).logits


@cache
def text() -> tuple[Tensor, Tensor]:
    """Bytes of the standard library's sources: for training, and held out (every tenth file)."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    parts = [[], []]
    for index, file in enumerate(files):
        parts[index % 10 == 0].append(file.read_bytes())
    return tuple(torch.frombuffer(bytearray(b"".join(part)), dtype=torch.uint8).long() for part in parts)


class Causal:
    """The next byte, in windows of 128."""

    lr, steps, fine_lr, init = 1e-3, 1000, 5e-4, 0.02
    unit = "held-out loss, nats a byte"

    def batches(self, steps: int, seed: int, size: int = 8, split: int = 0) -> Iterator[Tensor]:
        data, random = text()[split], torch.Generator().manual_seed(seed)
        for _ in range(steps):
            starts = torch.randint(0, len(data) - 129, (size,), generator=random)
            yield torch.stack([data[start : start + 128] for start in starts.tolist()])

    def prediction(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
        return model(input_ids=batch).logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten()

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return F.cross_entropy(*self.prediction(model, batch))

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> tuple[float, float]:
        """Held-out loss and accuracy (%), always of the same 48 windows."""
        (windows,) = self.batches(1, 1234, 48, split=1)
        logits, labels = self.prediction(model.eval(), windows)
        model.train()
        return F.cross_entropy(logits, labels).item(), 100 * (logits.argmax(-1) == labels).double().mean().item()


class Gpt(Causal):
    name = "gpt"

    def make(self, seed: int, width: int = 128, depth: int = 4, init: float | None = None) -> nn.Module:
        from transformers import GPT2Config, GPT2LMHeadModel

        torch.manual_seed(seed)
        off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
        shape = {"vocab_size": 256, "n_positions": 128, "n_embd": width, "n_layer": depth, "n_head": width // 32}
        return GPT2LMHeadModel(GPT2Config(**shape, **off, initializer_range=self.init if init is None else init))


class Llama(Causal):
    """RMSNorm, SwiGLU, rotary positions."""

    name = "llama"

    def make(self, seed: int, width: int = 128, depth: int = 4, init: float | None = None) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=256, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=depth,
            num_attention_heads=width // 32, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
            initializer_range=self.init if init is None else init,
        )  # fmt: skip
        return LlamaForCausalLM(config)


class Bert(Causal):
    """BERT's layers, whose norms come last, with a causal mask: 15 % of a window to predict would teach too slowly."""

    name = "bert"

    def make(self, seed: int, width: int = 128, depth: int = 4, init: float | None = None) -> nn.Module:
        from transformers import BertConfig, BertLMHeadModel

        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=256, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, is_decoder=True,
            num_attention_heads=width // 32, max_position_embeddings=128, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, initializer_range=self.init if init is None else init,
        )  # fmt: skip
        return BertLMHeadModel(config)


class Wav2Vec2:
    """Sound made by rule: tones of eight pitches with two overtones, random loudness, phase and length, and noise. A
    frame's label is the pitch of the tone before its own."""

    name, lr, steps, fine_lr, init = "wav2vec2", 2e-3, 600, 5e-4, 0.02
    unit = "held-out accuracy of frames, %"
    samples, rate, hop, field = 1600, 8000, 20, 25  # of a piece; a second; between frames; that a frame sees

    def make(self, seed: int, width: int = 96, depth: int = 3, init: float | None = None) -> nn.Module:
        from transformers import Wav2Vec2Config, Wav2Vec2ForAudioFrameClassification

        torch.manual_seed(seed)
        config = Wav2Vec2Config(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, num_attention_heads=width // 32,
            conv_dim=(32, 64), conv_kernel=(10, 4), conv_stride=(5, 4), num_feat_extract_layers=2,
            feat_extract_norm="layer", num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, num_labels=8,
            hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0,
            apply_spec_augment=False, initializer_range=self.init if init is None else init,
        )  # fmt: skip
        return Wav2Vec2ForAudioFrameClassification(config)

    def batches(self, steps: int, seed: int, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
        random = torch.Generator().manual_seed(seed)
        time = torch.arange(self.samples)
        middles = torch.arange((self.samples - self.field) // self.hop + 1) * self.hop + self.field // 2
        for _ in range(steps):
            ends = torch.randint(150, 450, (size, self.samples // 150 + 1), generator=random).cumsum(1)
            pitches = torch.randint(8, ends.shape, generator=random)
            phases, loudness = (torch.rand(ends.shape, generator=random) for _ in range(2))
            tone = torch.searchsorted(ends, time.expand(size, -1).contiguous(), right=True)
            hertz = 200 * 2 ** (pitches.gather(1, tone) / 4)
            angle = 2 * math.pi * (hertz * time / self.rate + phases.gather(1, tone))
            sound = sum((harmonic * angle).sin() / harmonic for harmonic in (1, 2, 3))
            sound = sound * (0.2 + loudness.gather(1, tone)) + 0.1 * torch.randn(sound.shape, generator=random)
            before = torch.cat([torch.zeros_like(pitches[:, :1]), pitches[:, :-1]], 1)
            yield sound, before.gather(1, tone[:, middles])

    def prediction(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(input_values=batch[0]).logits.flatten(0, 1), batch[1].flatten()

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(*self.prediction(model, batch))

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> tuple[float, float]:
        """Loss and accuracy (%) of frames, always of the same 128 pieces."""
        (batch,) = self.batches(1, 4321, 128)
        logits, labels = self.prediction(model.eval(), batch)
        model.train()
        return F.cross_entropy(logits, labels).item(), 100 * (logits.argmax(-1) == labels).double().mean().item()


TASKS = {task.name: task for task in (Vit(), ConvNext(), Gpt(), Llama(), Bert(), Wav2Vec2())}


def optimizers_of(model: nn.Module, name: str, lr: float, alpha_lr_scale: float | None) -> list[torch.optim.Optimizer]:
    """AdamW; SGD with momentum; or Muon for the matrices of hidden layers, with AdamW for the rest at lr / 10."""
    decay = {"adamw": 0.05, "sgd": 1e-4, "muon": 0.05}[name]
    hidden = []
    if name == "muon":
        ends = ("embed", "wte", "wpe", "head", "classifier")
        hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and not any(end in n for end in ends)]
        lr /= 10
    groups = derf.parameter_groups(model, weight_decay=decay, lr=lr, alpha_lr_scale=alpha_lr_scale)
    apart = set(map(id, hidden))
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in apart]
    groups = [group for group in groups if group["params"]]
    if name == "sgd":
        return [torch.optim.SGD(groups, lr=lr, momentum=0.9)]
    first = torch.optim.AdamW(groups)
    return [first, torch.optim.Muon(hidden, lr=10 * lr, weight_decay=decay)] if hidden else [first]


def train(
    task: Any,
    model: nn.Module,
    steps: int,
    *,
    lr: float,
    seed: int,
    at: tuple[int, ...] = (),
    optimizer: str = "adamw",
    clip: float | None = None,
    alpha_lr_scale: float | None = None,
    watch: Callable[[int], None] | None = None,
) -> tuple[list[float], dict[int, tuple[float, float]]]:
    """Warm-up of a tenth of the steps, then a cosine; the losses, and evaluations after the steps in at."""
    chosen = optimizers_of(model, optimizer, lr, alpha_lr_scale)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            each, lambda step: min(1.0, (step + 1) / (0.1 * steps)) * (1 + math.cos(math.pi * step / steps)) / 2
        )
        for each in chosen
    ]
    losses, evaluations = [], {0: task.evaluate(model)} if 0 in at else {}
    model.train()
    for step, batch in enumerate(task.batches(steps, seed), start=1):
        model.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if watch:
            watch(step)
        for each in (*chosen, *schedules):
            each.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        if step in at:
            evaluations[step] = task.evaluate(model)
    return losses, evaluations
