"""wav2vec 2.0: Transformers' Wav2Vec2ForPreTraining, norms first, learns which sound was hidden."""

import torch
from torch import Tensor, nn

from . import speech
from .system import Base, Batch, Scale, generator

SAMPLES = speech.RATE  # one second, in 99 frames of 10 ms
FRAMES, SPAN, SPANS, NEGATIVES = 99, 10, 5, 20
KERNELS, STRIDES = (10, 3, 3, 2), (5, 2, 2, 2)


class System(Base):
    name, title, recipe = "wav2vec2", "wav2vec 2.0", "wav2vec2"
    measure = "contrastive loss"
    trivial = 3.04  # the logarithm of the true sound and 20 others
    betas, weight_decay = (0.9, 0.98), 0.01  # as the recipe has them
    scales = {
        "smoke": Scale(width=32, depth=1, steps=4, batch=4, lrs=(1e-3, 4e-3), held_out=1),
        "default": Scale(width=64, depth=2, steps=250, batch=6, lrs=(1e-3, 2e-3, 4e-3)),
        "gpu": Scale(width=512, depth=8, steps=20000, batch=64, lrs=(3e-4, 6e-4, 1.2e-3)),
    }

    def data_settings(self) -> dict[str, str]:
        return {"speech": speech.engine()}

    def build(self, width: int, depth: int) -> nn.Module:
        from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth}
        off = ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "feat_quantizer_dropout", "layerdrop")
        config = Wav2Vec2Config(
            **sizes,
            **dict.fromkeys(off, 0.0),
            num_attention_heads=max(1, width // 32),
            conv_dim=(width // 2,) * 4,
            conv_kernel=KERNELS,
            conv_stride=STRIDES,
            num_feat_extract_layers=4,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            apply_spec_augment=False,
            do_stable_layer_norm=True,
            feat_extract_norm="layer",
            num_codevectors_per_group=32,
            codevector_dim=32,
            proj_codevector_dim=32,
            num_negatives=NEGATIVES,
        )
        return Wav2Vec2ForPreTraining(config)

    def batch(self, split: str, seed: int, index: int) -> Batch:
        """Sound [B, 4000], hidden frames [B, 99], and for each of these 20 others of its own utterance."""
        random, size = generator("wav2vec2", split, seed, index), self.scale.batch
        few = 8 if self.scale_name == "smoke" else None
        sounds = speech.data("train" if split == "fit" else split, few)
        chosen = torch.randint(len(sounds), (size,), generator=random)
        starts = torch.randint(sounds.shape[1] - SAMPLES, (size,), generator=random)
        pieces = [sounds[one, start : start + SAMPLES] for one, start in zip(chosen, starts.tolist(), strict=True)]
        # Spans of 10 frames in 5 of 9 places: as many frames in each utterance, about half of them.
        places = torch.rand(size, (FRAMES - SPAN + 1) // SPAN, generator=random).argsort(-1)[:, :SPANS] * SPAN
        places = places + torch.randint(SPAN, (size, 1), generator=random)
        frames = (places[..., None] + torch.arange(SPAN)).flatten(1)  # [B, 50]
        hidden = torch.zeros(size, FRAMES, dtype=torch.bool).scatter(1, frames, True)
        count = frames.shape[1]
        others = torch.randint(count - 1, (size, count, NEGATIVES), generator=random)
        others = others + (others >= torch.arange(count)[:, None])  # of all but the frame itself
        negatives = torch.zeros(size, FRAMES, NEGATIVES, dtype=torch.long)
        of_frames = frames.gather(1, others.flatten(1)).view(size, count, NEGATIVES)
        return torch.stack(pieces), hidden, negatives.scatter(1, frames[..., None].expand_as(of_frames), of_frames)

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The whole loss and the contrastive one, for each hidden frame."""
        sounds, hidden, negatives = batch
        offsets = FRAMES * torch.arange(len(sounds), device=sounds.device)[:, None, None]
        found = model(sounds, mask_time_indices=hidden, sampled_negative_indices=negatives + offsets)
        return found.loss / hidden.sum(), found.contrastive_loss / hidden.sum()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.outputs(model, batch)[0]

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        model.eval()
        found = [
            torch.stack(self.outputs(model, batch)) for batch in self.batches(split, next(model.parameters()).device)
        ]
        loss, contrastive = torch.stack(found).double().mean(0).tolist()
        return {"loss": loss, self.measure: contrastive}
