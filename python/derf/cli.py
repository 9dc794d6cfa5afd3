"""`python -m derf`: what replace_norm would do to a model, the family of functions, calibration of a trained model."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import curves
from .calibrate_command import add_parser, calibrate_command
from .config import show_config
from .flops import norm_backward_flops, norm_flops, pointwise_norm_backward_flops, pointwise_norm_flops
from .functions import functions
from .recipes import RECIPES, recipe_called
from .replace import replace_norm
from .report import ReplacedNorm, Report, table


@dataclass
class Costs:
    """Of all replaced layers in one forward, or one forward and backward, of one example."""

    parameters: int = 0
    forward_flops: int = 0
    backward_flops: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0

    def rows(self, other: "Costs") -> list[tuple[str, ...]]:
        names = {
            "parameters": "parameters",
            "forward_flops": "FLOPs, forward",
            "backward_flops": "FLOPs, backward",
            "forward_bytes": "bytes, forward",
            "backward_bytes": "bytes, backward",
        }
        values = [(label, getattr(self, name), getattr(other, name)) for name, label in names.items()]
        return [(label, f"{a:,}", f"{b:,}", f"{b - a:+,}") for label, a, b in values if a or b]


def timm_model(name: str) -> tuple[nn.Module, Callable[[nn.Module], object], str]:
    """A model of timm, how to call it on the meta device, and in words with what."""
    import timm

    model: Any = timm.create_model(name)
    size = model.pretrained_cfg["input_size"]
    return model, lambda model: model(torch.empty(1, *size, device="meta")), f"an image {list(size)}"


def transformers_model(folder: str, length: int) -> tuple[nn.Module, Callable[[nn.Module], object], str]:
    """The model that a config.json describes, without memory for its weights."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    classes = [getattr(transformers, name, None) for name in config.architectures or ()]
    with torch.device("meta"):
        model = classes[0](config) if classes and classes[0] else transformers.AutoModel.from_config(config)
    name = model.main_input_name
    if name == "pixel_values":
        side = config.image_size if isinstance(config.image_size, (tuple, list)) else (config.image_size,) * 2
        inputs, words = {name: torch.empty(1, config.num_channels, *side, device="meta")}, f"an image {list(side)}"
    elif name == "input_values":
        inputs, words = {name: torch.empty(1, length, device="meta")}, f"{length} samples"
    elif name == "input_features":
        frames = 2 * config.max_source_positions
        inputs, words = {name: torch.empty(1, config.num_mel_bins, frames, device="meta")}, f"{frames} frames"
    else:
        tokens = torch.ones(1, length, dtype=torch.int64, device="meta")
        inputs, words = {name: tokens}, f"{length} tokens"
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.ones(1, length, dtype=torch.int64, device="meta")
    return model, lambda model: model(**inputs), words


def costs(model: nn.Module, report: Report, call: Callable[[nn.Module], object]) -> tuple[Costs, Costs]:
    """What the norms of a report cost, and what the new layers would, from the shapes of their inputs in one call."""
    before, after = Costs(), Costs()
    handles = []
    for entry in report.replaced:
        norm = model.get_submodule(entry.name)
        before.parameters += sum(parameter.numel() for parameter in norm.parameters())
        after.parameters += sum(parameter.numel() for parameter in entry.new.parameters())

        def add(norm: nn.Module, inputs: tuple, output: torch.Tensor, entry: ReplacedNorm = entry) -> None:
            _add_call(before, after, entry, inputs[0])

        handles.append(norm.register_forward_hook(add))
    try:
        with torch.no_grad():
            call(model.to("meta").eval())
    finally:
        for handle in handles:
            handle.remove()
    return before, after


def _add_call(before: Costs, after: Costs, entry: ReplacedNorm, input: torch.Tensor) -> None:
    new, elements = entry.new, input.numel()
    weight, bias = new.weight is not None, "bias" in entry.copied
    centered = "rms" not in entry.old.__name__.lower()
    of_norm = {"centered": centered, "weight": weight, "bias": bias}
    before.forward_flops += norm_flops(elements, **of_norm)
    before.backward_flops += norm_backward_flops(elements, **of_norm)
    function: Any = new.function
    tensors = input, new.alpha, new.shift, new.weight, new.bias
    shapes: Any = [None if tensor is None else tensor.shape for tensor in tensors]
    after.forward_flops += pointwise_norm_flops(*shapes, function=function)
    after.backward_flops += pointwise_norm_backward_flops(input.shape, *shapes, -1, function, out_shape=shapes)

    # Each tensor once: forward reads the input and writes the output; backward reads the gradient and the input, and
    # writes a gradient. A norm writes its row's statistics in float32, and reads them again.
    size = input.element_size()
    statistics = 4 * (1 + centered) * (elements // prod(new.normalized_shape))
    for each, extra in ((before, statistics), (after, 0)):
        each.forward_bytes += 2 * elements * size + extra
        each.backward_bytes += 3 * elements * size + extra


def replace_command(arguments: argparse.Namespace) -> str:
    """The report, and the table of what changes."""
    if arguments.timm:
        model, call, words = timm_model(arguments.timm)
    else:
        model, call, words = transformers_model(arguments.transformers_config, arguments.length)
    report = replace_norm(
        model,
        function=arguments.function,
        per_channel=arguments.per_channel,
        include=arguments.include,
        exclude=arguments.exclude,
        recipe=arguments.recipe,
        dry_run=True,
    )
    parts = [str(report)]
    if report.replaced:
        try:
            before, after = costs(model, report, call)
        except Exception as error:  # a model may want other inputs than these, in its own words
            parts.append(f"what it costs is not known: the model does not take {words}: {error}")
        else:
            becomes = type(report.replaced[0].new).__name__
            header = (f"these layers, for {words}", "norms", becomes, "change")
            parts.append(table(header, before.rows(after)))
    if arguments.recipe:
        recipe = recipe_called(arguments.recipe, arguments.function)
        parts.append(f"recipe {arguments.recipe}: {recipe.training}\nsource: {recipe.source}")
    return "\n\n".join(parts)


def functions_command(arguments: argparse.Namespace) -> str:
    """The table of the functions, after the figure is drawn."""
    if arguments.plot:
        curves.plot(arguments.plot)
    return curves.text()


def main(argv: list[str] | None = None) -> None:
    """Run `python -m derf` with the arguments."""
    parser = argparse.ArgumentParser(prog="python -m derf", description="Without a command: what was built.")
    commands = parser.add_subparsers(dest="command")
    replace = commands.add_parser("replace", help="what replace_norm would do to a model, and what that changes")
    model = replace.add_mutually_exclusive_group(required=True)
    model.add_argument("--timm", metavar="NAME", help="a model of timm")
    model.add_argument("--transformers-config", metavar="DIR", help="a folder with a config.json of Transformers")
    replace.add_argument("--function", choices=functions(), default="erf", help="what the layers compute (erf)")
    replace.add_argument("--per-channel", action="store_true", help="an alpha and a shift for each channel")
    replace.add_argument("--recipe", choices=RECIPES, help="starts and changes of the authors")
    replace.add_argument("--include", nargs="+", metavar="PATTERN", help="names of the norms to replace")
    replace.add_argument("--exclude", nargs="+", metavar="PATTERN", help="names of norms that stay")
    replace.add_argument("--length", type=int, default=512, help="tokens or samples of the example (default: 512)")
    family = commands.add_parser("functions", help="the functions of the family: values, slopes, errors, bounds")
    family.add_argument("--plot", type=Path, metavar="FILE", help="draw them all into a file, of matplotlib's formats")
    add_parser(commands)
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        print(show_config())
        return
    try:
        run = {"replace": replace_command, "functions": functions_command, "calibrate": calibrate_command}
        print(run[arguments.command](arguments))
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        parser.exit(2, f"python -m derf {arguments.command}: {error}\n")
