"""torchvision's models after replace_norm."""

import pytest
import torch
import zoo

models = zoo.library("torchvision").models
CNBlockConfig = models.convnext.CNBlockConfig

MODELS = {
    "ViT": (lambda: models.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=5), 2 * 2 + 1),
    "Swin": (lambda: models.SwinTransformer([4, 4], 16, [1, 1], [2, 4], [2, 2], num_classes=5), 1 + 2 * 2 + 1 + 1),
    "ConvNeXt": (lambda: models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=5), 5),
}


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    build, norms = MODELS[name]
    images = torch.randn(2, 3, 32, 32)
    zoo.check(build(), lambda model: model(images), norms)
