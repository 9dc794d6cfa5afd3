"""Images of 36 classes, 16 x 16 pixels in [-1, 1]: handwritten digits (scikit-learn), letters of fonts (Matplotlib).

Validation and test have other writings of the digits and other fonts than training.
"""

from functools import cache
from pathlib import Path

import torch
from derf.demo import load_data
from torch import Tensor
from torch.nn import functional as F

SIZE, LETTERS = 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CLASSES = 10 + len(LETTERS)
PATTERNS = ("DejaVuSans*", "DejaVuSerif*", "STIXGeneral*", "cmr10", "cmb10", "cmss10", "cmtt10")
DISPLAY = "DejaVuSansDisplay", "DejaVuSerifDisplay"  # these have no letters
HELD_OUT = {  # one face of every family, upright and slanted, thin and bold
    "validation": ("DejaVuSans-Oblique", "DejaVuSerif-BoldItalic", "STIXGeneral", "cmb10"),
    "test": ("DejaVuSansMono-Bold", "DejaVuSerif", "STIXGeneralBolIta", "cmss10"),
}
COPIES = 6  # of a letter of a font, each moved in another way: as many letters as digits, or so


def _render(font: Path, letter: str) -> Tensor:
    """The letter in the middle, as high as the digits are."""
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (SIZE * 4, SIZE * 4))
    draw = ImageDraw.Draw(image)
    draw.text((SIZE * 2, SIZE * 2), letter, fill=255, font=ImageFont.truetype(str(font), SIZE * 3), anchor="mm")
    small = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    return torch.from_numpy(numpy.asarray(small, dtype="float32") / 127.5 - 1)


def moved(images: Tensor, random: torch.Generator) -> Tensor:
    """Each turned by up to 7.5 degrees, sheared by up to 0.1, scaled by up to 7.5 %, shifted by up to 0.75 pixels."""
    n = len(images)
    turn, shear = (torch.rand(n, 2, generator=random) * 2 - 1).mul(torch.tensor([0.13, 0.1])).unbind(1)
    scale = 1 + 0.075 * (torch.rand(n, generator=random) * 2 - 1)
    shift = (torch.rand(n, 2, generator=random) * 2 - 1) * 1.5 / SIZE
    rows = [turn.cos() * scale, (shear - turn.sin()) * scale, shift[:, 0]]
    rows += [turn.sin() * scale, turn.cos() * scale, shift[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1  # outside is background, -1


@cache
def data(split: str) -> tuple[Tensor, Tensor]:
    """Images [N, 1, 16, 16] and labels [N] of train, validation or test; always the same."""
    import matplotlib

    train, test, train_labels, test_labels = load_data()
    cut = {"train": slice(360, None), "validation": slice(0, 360), "test": slice(None)}[split]
    digits, labels = (test, test_labels) if split == "test" else (train, train_labels)
    digits = F.interpolate(digits[cut], size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = sorted({font for pattern in PATTERNS for font in folder.glob(f"{pattern}.ttf")})
    kept = {name for names in HELD_OUT.values() for name in names}
    chosen = [
        font
        for font in fonts
        if font.stem not in DISPLAY and (font.stem not in kept if split == "train" else font.stem in HELD_OUT[split])
    ]
    if not chosen:
        raise RuntimeError(f"benchmarks.training: Matplotlib's fonts must be in {folder}, but are not")
    letters = torch.stack([_render(font, letter) for font in chosen for letter in LETTERS])[:, None]
    letters = letters.repeat(COPIES if split == "train" else 3, 1, 1, 1)
    letters = moved(letters, torch.Generator().manual_seed(len(split)))
    names = torch.arange(10, CLASSES).repeat(len(letters) // len(LETTERS))
    return torch.cat([digits, letters]), torch.cat([labels[cut], names])


def batch(split: str, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images and labels drawn from a split; those of train are augmented, those of fit are the same as they are."""
    images, labels = data("train" if split == "fit" else split)
    chosen = torch.randint(len(images), (size,), generator=random)
    images = images[chosen]
    return (moved(images, random) if split == "train" else images), labels[chosen]
