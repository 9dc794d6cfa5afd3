"""`python -m derf.demo`: one Vision Transformer trained on real data, with LayerNorm and with Derf, and converted.

The data are scikit-learn's digits, 1,797 images of 8 x 8 pixels that come with that package; the model is
Transformers' ViTForImageClassification, small and from a random start. Both trainings start from the same weights and
see the same batches; they take turns step by step, so that what else the machine does meets both alike. A third one
is of a Derf model that starts from data. At the end the trained LayerNorm model becomes a Derf model without training.
Nothing is downloaded. Needs the packages of the extra: `pip install "derf[demo]"`.
"""

import argparse
import copy
import importlib.util
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from . import calibrate, parameter_groups, replace_norm
from . import start as start_from_data

BATCH = 128
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
NORM_REPEATS = 200
CALIBRATION_BATCHES = 8
ALPHA_LR_SCALE = 20  # for the start from data, whose alphas are small
EXTRA = {"matplotlib": "matplotlib", "rich": "rich", "sklearn": "scikit-learn", "transformers": "transformers"}


class Training:
    """A model, its optimizer, and what its training showed: a loss and seconds for each step, accuracies in percent."""

    def __init__(self, name: str, model: nn.Module, steps: int, alpha_lr_scale: float | None = None) -> None:
        self.name, self.model, self.steps = name, model, steps
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.accuracies: dict[int, float] = {}
        options = {"weight_decay": WEIGHT_DECAY, "lr": LEARNING_RATE, "alpha_lr_scale": alpha_lr_scale}
        groups = parameter_groups(model, **options)
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)

        def warm_up_and_cosine(step: int) -> float:
            return min(1.0, (step + 1) / (0.1 * steps)) * (1 + math.cos(math.pi * step / steps)) / 2

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, warm_up_and_cosine)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.model.train()(pixel_values=images).logits, labels)

    def step(self, images: Tensor, labels: Tensor) -> None:
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = self.loss(images, labels)
        loss.backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)
        self.losses.append(loss.item())
        self.schedule.step()

    def evaluate(self, images: Tensor, labels: Tensor) -> None:
        self.accuracies[len(self.losses)] = accuracy(self.model, images, labels)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In percent."""
    predicted = model.eval()(pixel_values=images).logits.argmax(-1)
    return 100 * (predicted == labels).double().mean().item()


def saved_bytes(layer: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes of the storages that a forward of layer saves for the backward, each counted once, parameters left out."""
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    for parameter in layer.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


class NormLayers:
    """The norm layers of a model, with their inputs and gradients in one training step."""

    def __init__(self, training: Training, names: list[str], images: Tensor, labels: Tensor) -> None:
        self.calls: dict[nn.Module, list[Tensor]] = {}  # layer: [input, gradient of the output]

        def record(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.calls[layer] = [inputs[0].detach().clone().requires_grad_()]
            output.register_hook(self.calls[layer].append)

        handles = [training.model.get_submodule(name).register_forward_hook(record) for name in names]
        training.loss(images, labels).backward()
        for handle in handles:
            handle.remove()
        self.saved = sum(saved_bytes(layer, partial(layer, x)) for layer, (x, _) in self.calls.items())
        self.saved_by_model = saved_bytes(training.model, partial(training.loss, images, labels))

    def seconds(self) -> float:
        """Time of the forwards of all layers, then of their backwards in reverse order."""
        start = time.perf_counter()
        outputs = [(layer, x, layer(x), gradient) for layer, (x, gradient) in self.calls.items()]
        for layer, x, output, gradient in reversed(outputs):
            torch.autograd.grad(output, [x, *layer.parameters()], gradient)
        return time.perf_counter() - start


def load_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images [1437, 1, 8, 8] and test images [360, 1, 8, 8] in [-1, 1], labels of both: always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 8 - 1).astype("float32").reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    images, test_images, labels, test_labels = map(torch.from_numpy, split)
    return images, test_images, labels, test_labels


def make_batches(images: Tensor, labels: Tensor, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, each image moved by up to one pixel in both directions."""
    random = torch.Generator().manual_seed(seed)
    moved = nn.functional.pad(images, (1, 1, 1, 1), value=-1.0).unfold(2, 8, 1).unfold(3, 8, 1)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(images), generator=random)])
        chosen, order = order[:BATCH], order[BATCH:]
        down, right = torch.randint(0, 3, (2, BATCH), generator=random)
        yield moved[chosen, :, down, right], labels[chosen]


def make_model(seed: int) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    options: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 384}
    options |= {"num_hidden_layers": 4, "num_attention_heads": 3}
    options |= {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
    torch.manual_seed(seed)
    # The usual initializer_range, 0.02, is meant for patches of hundreds of pixels. Here activations would start near
    # zero, which LayerNorm scales up and Derf, almost linear there, does not.
    return ViTForImageClassification(ViTConfig(**options, initializer_range=0.1))


def train(trainings: list[Training], batches: Iterator[tuple[Tensor, Tensor]], *test: Tensor) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("training", total=trainings[0].steps)
        for step, batch in enumerate(batches, start=1):
            for training in trainings if step % 2 else reversed(trainings):
                training.step(*batch)
                if step % max(1, training.steps // 40) == 0 or step == training.steps:
                    training.evaluate(*test)
            losses = ", ".join(f"{training.name} {training.losses[-1]:.3f}" for training in trainings)
            bar.update(task, advance=1, description=f"loss: {losses}")


def print_table(trainings: list[Training], norm_layers: list[NormLayers]) -> None:
    import rich
    from rich.table import Column, Table

    rounds = [[layers.seconds() for layers in norm_layers] for _ in range(NORM_REPEATS)]
    norm_seconds = [median(column) for column in zip(*rounds, strict=True)]
    caption = (
        f"One thread, batches of {BATCH}. Training step: forward, backward and optimizer; median of "
        f"{trainings[0].steps}, the two models in turn. Its norm layers: their forwards and backwards alone, on the "
        f"inputs and gradients of one such step; median of {NORM_REPEATS}, in turn. Saved for backward: bytes of the "
        "storages that torch.autograd.graph.saved_tensors_hooks sees, each counted once, parameters left out."
    )
    numbers = [Column(heading, justify="right") for heading in (*(training.name for training in trainings), "ratio")]
    table = Table("", *numbers, title="ViT on scikit-learn's digits", caption=caption, caption_justify="left")

    def row(label: str, form: str, values: list[float], ratio: bool = True) -> None:
        table.add_row(label, *(form.format(value) for value in values), f"{values[1] / values[0]:.2f}" if ratio else "")

    row("test accuracy", "{:.2f} %", [training.accuracies[training.steps] for training in trainings], ratio=False)
    row("training loss, last twentieth", "{:.5f}", [fmean(t.losses[-(t.steps // 20 or 1) :]) for t in trainings], False)
    row("training step", "{:.2f} ms", [median(training.seconds) * 1e3 for training in trainings])
    row(f"its {len(norm_layers[0].calls)} norm layers", "{:.3f} ms", [seconds * 1e3 for seconds in norm_seconds])
    row("saved for backward by norm layers", "{:.2f} MiB", [layers.saved / 2**20 for layers in norm_layers])
    row("saved for backward by the model", "{:.2f} MiB", [layers.saved_by_model / 2**20 for layers in norm_layers])
    rich.print(table)


def convert(model: nn.Module, batches: list[tuple[Tensor, Tensor]], *test: Tensor) -> tuple[dict[str, float], float]:
    """Test accuracies of the trained LayerNorm model as it is and converted without training; calibrate's seconds."""
    accuracies = {"trained with LayerNorm": accuracy(model, *test)}
    accuracies["its norms replaced"] = accuracy(replace_norm(copy.deepcopy(model)), *test)
    inputs = [{"pixel_values": images} for images, _ in batches]
    begin = time.perf_counter()
    converted = calibrate(copy.deepcopy(model), inputs, progress=False)
    seconds = time.perf_counter() - begin
    accuracies["its norms calibrated"] = accuracy(converted, *test)
    return accuracies, seconds


def print_conversion(accuracies: dict[str, float], seconds: float, started: Training) -> None:
    import rich
    from rich.table import Column, Table

    caption = (
        f"The LayerNorm model above becomes a Derf model without training: by replace_norm alone, and by calibrate, "
        f"from {CALIBRATION_BATCHES} batches in {seconds:.1f} s. Below, a Derf model trained from a start from data."
    )
    heading = Column("test accuracy", justify="right")
    table = Table("", heading, title="Converted, and started from data", caption=caption, caption_justify="left")
    for label, value in {**accuracies, started.name: started.accuracies[started.steps]}.items():
        table.add_row(label, f"{value:.2f} %")
    rich.print(table)


def save_plot(trainings: list[Training], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle("ViT on scikit-learn's digits (1,437 training and 360 test images of 8 × 8 pixels)")
    for training, color in zip(trainings, ("#0072b2", "#d55e00", "#009e73"), strict=True):
        losses = torch.tensor(training.losses, dtype=torch.float64)
        window = training.steps // 50 or 1
        means, label = losses.unfold(0, window, 1).mean(1), f"{training.name}, mean of {window} steps"
        left.plot(range(1, training.steps + 1), losses, color=color, alpha=0.2, linewidth=0.8)
        left.plot(range(window, training.steps + 1), means, color=color, label=label)
        right.plot(*zip(*training.accuracies.items(), strict=True), color=color, marker=".", label=training.name)
    left.set(xlabel="training step", ylabel="training loss (cross-entropy)", yscale="log")
    right.set(xlabel="training step", ylabel="test accuracy (%)", ylim=(0, 102))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(out, format="png")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked before any work: a wrong one ends the program with a message and status 2."""
    parser = argparse.ArgumentParser("python -m derf.demo", description=__doc__.split("\n")[0].split(": ")[1])
    parser.add_argument("--steps", type=int, default=600, help="training steps (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("derf_demo.png"), help="PNG to write (default %(default)s)")
    arguments = parser.parse_args(argv)
    missing = [package for module, package in EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.exit(2, f'derf.demo needs {", ".join(missing)}: pip install "derf[demo]"\n')
    for name, least in {"steps": 1, "seed": 0}.items():
        if not least <= getattr(arguments, name) < 2**63:
            parser.error(f"--{name} must be from {least} to 2**63 - 1, but is {getattr(arguments, name)}")
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        exists = arguments.out.exists()
        (arguments.out.open("r+b") if exists else tempfile.TemporaryFile(dir=arguments.out.parent)).close()
    except OSError as error:
        parser.error(f"--out {arguments.out} cannot be written: {error.strerror}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the demo and return its exit status. Sets torch's threads and deterministic mode for the whole process."""
    start = time.perf_counter()
    arguments = parse(argv)
    torch.set_num_threads(1)  # more gain a model this small little, and lose it much where cores are shared
    torch.use_deterministic_algorithms(True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # would add to every time that is measured
    images, test_images, labels, test_labels = load_data()
    batches = partial(make_batches, images, labels, seed=arguments.seed)
    model = make_model(arguments.seed)
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.LayerNorm)]
    models = {"LayerNorm": model, "Derf": replace_norm(copy.deepcopy(model))}
    trainings = [Training(name, model, arguments.steps) for name, model in models.items()]
    (first,) = batches(steps=1)
    started = start_from_data(replace_norm(make_model(arguments.seed)), {"pixel_values": first[0]})
    trainings.append(Training("Derf, start from data", started, arguments.steps, ALPHA_LR_SCALE))
    train(trainings, batches(steps=arguments.steps), test_images, test_labels)
    compared = trainings[:2]
    print_table(compared, [NormLayers(training, names, *first) for training in compared])
    calibration = list(make_batches(images, labels, CALIBRATION_BATCHES, arguments.seed + 1))
    print_conversion(*convert(model, calibration, test_images, test_labels), trainings[2])
    save_plot(trainings, arguments.out)
    print(f"The curves are in {arguments.out}. Took {time.perf_counter() - start:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
