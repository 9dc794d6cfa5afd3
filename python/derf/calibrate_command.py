"""`python -m derf calibrate`: a trained model of timm or a folder of Transformers, converted by the user's own data."""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .calibrate import calibrate

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
TEXTS = {".txt", ".md", ".py"}


def add_parser(commands: Any) -> None:
    """Add the command to those of `python -m derf`."""
    parser = commands.add_parser("calibrate", help="turn a trained model's norms into Derfs that compute what they did")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--timm", metavar="NAME", help="a model of timm; its weights are in --checkpoint")
    model.add_argument("--transformers", metavar="DIR", help="a folder of Transformers with config and weights")
    parser.add_argument("--checkpoint", metavar="FILE", help="weights for --timm, as timm loads them")
    parser.add_argument(
        "--data", metavar="PATH", type=Path, required=True,
        help="a .pt file with a list of batches, or a folder of images or of texts (.txt, .md, .py)",
    )  # fmt: skip
    parser.add_argument("--out", metavar="PATH", type=Path, required=True, help="where the converted state dict goes")
    parser.add_argument("--batches", type=int, default=8, help="how many at most (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="of a folder's batches (default: %(default)s)")
    parser.add_argument("--length", type=int, default=512, help="tokens of a text at most (default: %(default)s)")
    parser.add_argument("--mode", choices=("sequential", "parallel"), default="sequential")
    parser.add_argument("--refine", type=int, default=0, metavar="STEPS", help="of gradient descent on the Derfs alone")
    parser.add_argument("--min-r2", type=float, default=0.0, metavar="R2", help="norms that a Derf follows less stay")
    parser.add_argument("--include", nargs="+", metavar="PATTERN", help="names of the norms to convert")
    parser.add_argument("--exclude", nargs="+", metavar="PATTERN", help="names of norms that stay")


def calibrate_command(arguments: argparse.Namespace) -> str:
    """Convert, save, and say what was done."""
    for name in ("batches", "batch_size", "length"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be positive, but is {getattr(arguments, name)}")
    if arguments.timm and not arguments.checkpoint:
        raise ValueError("--timm needs --checkpoint: an untrained model has nothing to keep")
    if not arguments.data.exists():
        raise ValueError(f"--data {arguments.data} does not exist")
    if not arguments.out.parent.is_dir():
        raise ValueError(f"--out {arguments.out} cannot be written: its folder does not exist")
    model = _timm(arguments) if arguments.timm else _transformers(arguments)
    batches = list(islice(_batches(model, arguments), arguments.batches))
    is_text = isinstance(batches[0] if batches else None, dict) and "attention_mask" in batches[0]
    model, report = calibrate(
        model, batches, mode=arguments.mode, min_r2=arguments.min_r2, refine=arguments.refine,
        mask="attention_mask" if is_text else None,
        include=arguments.include, exclude=arguments.exclude, return_report=True,
    )  # fmt: skip
    torch.save(model.state_dict(), arguments.out)
    options = ", bias=True" if any("bias" in layer.added for layer in report.layers) else ""
    return (
        f"{report}\n\nsaved: {arguments.out}\n"
        f"To load it: derf.replace_norm(model{options}).load_state_dict(torch.load(...)), "
        "with the same include and exclude"
    )


def _timm(arguments: argparse.Namespace) -> nn.Module:
    import timm

    return timm.create_model(arguments.timm, checkpoint_path=arguments.checkpoint).eval()


def _transformers(arguments: argparse.Namespace) -> nn.Module:
    import transformers

    folder = arguments.transformers
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    classes = [getattr(transformers, name, None) for name in config.architectures or ()]
    cls = classes[0] if classes and classes[0] else transformers.AutoModel
    return cls.from_pretrained(folder, local_files_only=True).eval()


def _batches(model: nn.Module, arguments: argparse.Namespace) -> Iterator[Any]:
    if arguments.data.is_file():
        loaded = torch.load(arguments.data, weights_only=True)
        yield from loaded if isinstance(loaded, (list, tuple)) else [loaded]
        return
    files = sorted(file for file in arguments.data.rglob("*") if file.suffix.lower() in IMAGES | TEXTS)
    images = [file for file in files if file.suffix.lower() in IMAGES]
    if not files:
        raise ValueError(f"--data {arguments.data} has neither images nor texts")
    make = _images if images else _texts
    files = images or files
    step = max(1, len(files) // (arguments.batches * arguments.batch_size))
    chosen = files[::step]  # from all over the folder: the first files may be of one class
    for first in range(0, len(chosen), arguments.batch_size):
        yield make(model, chosen[first : first + arguments.batch_size], arguments)


def _images(model: nn.Module, files: list[Path], arguments: argparse.Namespace) -> Any:
    from PIL import Image

    pictures = [Image.open(file).convert("RGB") for file in files]
    if arguments.timm:
        from timm.data import create_transform, resolve_data_config

        transform = create_transform(**resolve_data_config({}, model=model))
        return torch.stack([transform(picture) for picture in pictures])
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(arguments.transformers, local_files_only=True)
    return {"pixel_values": processor(images=pictures, return_tensors="pt")["pixel_values"]}


def _texts(model: nn.Module, files: list[Path], arguments: argparse.Namespace) -> Any:
    if arguments.timm:
        raise ValueError(f"--data {arguments.data} has texts alone, but models of timm take images")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.transformers, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    texts = [file.read_text(errors="replace") for file in files]
    found = tokenizer(texts, truncation=True, max_length=arguments.length, padding=True, return_tensors="pt")
    return dict(found)
