"""What the paper found (arXiv 2512.10938, tables of its repository's README and section 6.1): ImageNet and so on."""

HEADS = ("", "LayerNorm", "DyT", "Derf")
ROWS = (  # system here, what the paper measured, LayerNorm or RMSNorm, DyT, Derf
    ("vit", "ViT-B, ImageNet accuracy, %", 82.3, 82.5, 82.8),
    ("vit", "ViT-L, ImageNet accuracy, %", 83.1, 83.6, 83.8),
    ("dit", "DiT-B/4, FID", 64.93, 63.94, 63.23),
    ("dit", "DiT-L/4, FID", 45.91, 45.66, 43.94),
    ("dit", "DiT-XL/2, FID", 19.94, 20.83, 18.92),
    ("wav2vec2", "wav2vec 2.0 Base, validation loss", 1.95, 1.95, 1.93),
    ("wav2vec2", "wav2vec 2.0 Large, validation loss", 1.92, 1.91, 1.90),
    ("dna", "HyenaDNA, accuracy, %", 85.2, 85.2, 85.7),
    ("caduceus", "Caduceus, accuracy, % (its norm is RMSNorm)", 86.9, 86.9, 87.3),
    ("gpt2", "GPT-2, validation loss", 2.94, 2.97, 2.94),
)
FIT = {"vit": (0.2623, 0.2714, 0.2681), "gpt2": (2.9478, 2.9822, 2.9702)}  # training loss in evaluation mode
# What it says of each system: that Derf is better than, or as good as, ...
CLAIMS = {
    "vit": {"layernorm": "better", "dyt": "better"},
    "dit": {"layernorm": "better", "dyt": "better"},
    "wav2vec2": {"layernorm": "better", "dyt": "better"},
    "dna": {"layernorm": "better", "dyt": "better"},
    "caduceus": {"rmsnorm": "better", "dyt": "better"},
    "gpt2": {"layernorm": "as good", "dyt": "better"},
}
