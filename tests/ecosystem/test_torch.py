"""PyTorch's own Transformers after replace_norm; test_transformers.py has their masks, modes and short cuts."""

import pytest
import torch
import zoo
from torch import nn

SIZES = {"d_model": 16, "nhead": 4, "dim_feedforward": 32, "dropout": 0.0, "batch_first": True}


@pytest.mark.parametrize("norm_first", [False, True], ids=["norm last", "norm first"])
def test_encoder(norm_first):
    layer = nn.TransformerEncoderLayer(**SIZES, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16), enable_nested_tensor=not norm_first)
    input = torch.randn(3, 7, 16)
    zoo.check(model, lambda model: model(input), 2 * 2 + 1)


def test_transformer():
    model = nn.Transformer(num_encoder_layers=2, num_decoder_layers=2, **SIZES)
    source, target = torch.randn(3, 7, 16), torch.randn(3, 5, 16)
    zoo.check(model, lambda model: model(source, target), (2 * 2 + 1) + (2 * 3 + 1))
