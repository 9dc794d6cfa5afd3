"""The one training loop, of all systems: seeds, optimizers, schedule, average of weights, checkpoints, processes."""

import hashlib
import importlib.metadata
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import derf
import torch
from torch import Tensor, nn
from torch import distributed as dist

from .norms import NORMS
from .runs import Refused, Row, Run
from .system import Base, system

EPOCHS, POINTS = 10, 50  # checkpoints in a run, points of a curve
TRAINING = ("optimizer", "precision", "width", "depth")  # options that are not those of the layers
PRECISIONS = {"bf16": torch.bfloat16}


def versions() -> dict[str, str]:
    names = ("timm", "transformers", "diffusers", "scikit-learn", "derf")
    return {"torch": str(torch.__version__)} | {name: importlib.metadata.version(name) for name in names}


def optimizers_of(model: nn.Module, task: Base, lr: float, alpha_lr_scale: float | None, name: str) -> list:
    """AdamW; or Muon for the matrices inside the blocks, and AdamW for all else."""
    groups = derf.parameter_groups(model, weight_decay=task.weight_decay, lr=lr, alpha_lr_scale=alpha_lr_scale)
    if name == "adamw":
        return [torch.optim.AdamW(groups, lr=lr, betas=task.betas)]
    if name != "muon":
        raise ValueError(f"benchmarks.training: optimizer must be 'adamw' or 'muon', but is {name!r}")
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    hidden = [p for p in groups[0]["params"] if p.ndim == 2 and p not in tables]
    groups[0]["params"] = [p for p in groups[0]["params"] if p.ndim != 2 or p in tables]
    groups = [group for group in groups if group["params"]]
    options = {"lr": lr, "weight_decay": task.weight_decay, "adjust_lr_fn": "match_rms_adamw"}
    return [torch.optim.Muon(hidden, **options), torch.optim.AdamW(groups, lr=lr, betas=task.betas)]


class Training:
    """All that changes from step to step, which is what a checkpoint has."""

    def __init__(self, run: Run, task: Base, device: torch.device) -> None:
        from timm.utils import ModelEmaV3
        from transformers import get_cosine_schedule_with_warmup

        options = dict(run.options)
        chosen = {name: options.pop(name, None) for name in TRAINING}
        model = task.make(run.seed, chosen["width"], chosen["depth"])
        model, alpha_lr_scale = NORMS[run.norm][1](model, task, options)
        self.run, self.task = run, task
        self.model = model.to(device).train()
        self.optimizers = optimizers_of(self.model, task, run.lr, alpha_lr_scale, chosen["optimizer"] or "adamw")
        warmup = round(task.warmup * task.scale.steps)
        self.schedules = [get_cosine_schedule_with_warmup(each, warmup, task.scale.steps) for each in self.optimizers]
        self.average = ModelEmaV3(self.model, decay=task.ema) if task.ema else None
        self.precision = PRECISIONS[chosen["precision"]] if chosen["precision"] else None
        self.losses: list[float] = []

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        device = batch[0].device.type
        with torch.autocast(device, dtype=self.precision, enabled=self.precision is not None):
            return self.task.loss(model, batch)

    def step(self, model: nn.Module, batch: tuple[Tensor, ...]) -> float:
        """model is self.model, or what wraps it."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self.loss(model, batch)
        loss.backward()
        if self.task.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.task.clip)
        for each in (*self.optimizers, *self.schedules):
            each.step()
        if self.average:
            self.average.update(self.model)
        loss = loss.detach()
        if dist.is_initialized():
            dist.all_reduce(loss)
            loss /= dist.get_world_size()
        return loss.item()

    def parts(self) -> dict[str, Any]:
        parts = {"model": self.model} | ({"average": self.average} if self.average else {})
        for name, several in (("optimizer", self.optimizers), ("schedule", self.schedules)):
            parts |= {f"{name} {index}": each for index, each in enumerate(several)}
        return parts

    def save(self, path: Path, identity: str, seconds: float) -> None:
        """Whole or not at all: the last checkpoint stays until this one is on the disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self.parts().items()}
        new = path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                torch.save({"identity": identity, "losses": self.losses, "seconds": seconds, **state}, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch.save has RuntimeErrors of its own for a full disk
            new.unlink(missing_ok=True)
            raise Refused(
                f"{path} could not be written: {error}. The last one is kept; call again to go on."
            ) from error
        os.replace(new, path)

    def load(self, path: Path, identity: str) -> float:
        """Go on from a checkpoint of this very run, if there is one; the seconds that it took until there."""
        if not path.exists():
            return 0.0
        state = torch.load(path, "cpu", weights_only=True)
        if state["identity"] != identity:
            return 0.0
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.losses = state["losses"]
        return state["seconds"]


def share(batch: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """What of a batch is this process's: all, or an equal part."""
    if dist.is_initialized():
        rank, world = dist.get_rank(), dist.get_world_size()
        if len(batch[0]) % world:
            raise ValueError(f"benchmarks.training: {world} processes cannot share a batch of {len(batch[0])} equally")
        batch = tuple(part.chunk(world)[rank] for part in batch)
    return tuple(part.to(device) for part in batch)


def checkpoint(run: Run, task: Base, folder: Path) -> tuple[Path, str]:
    """Its file, and what must be in it for the run to go on from there."""
    identity = f"{run.key} {sorted(task.settings().items())}"
    return folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.pt", identity


def train(
    run: Run, scale: str, checkpoints: Path, device: str = "cpu", tick: Callable[[int], None] = lambda steps: None
) -> Row:
    """Do a run, or the rest of it, and return its row; tick hears how many steps were made."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    task, place = system(run.system, scale), torch.device(device)
    steps, began = task.scale.steps, time.process_time()
    training = Training(run, task, place)
    path, identity = checkpoint(run, task, checkpoints)
    began -= training.load(path, identity)
    tick(len(training.losses))
    model = nn.parallel.DistributedDataParallel(training.model) if dist.is_initialized() else training.model
    first = not dist.is_initialized() or dist.get_rank() == 0
    every = max(1, steps // EPOCHS)
    for step in range(len(training.losses), steps):
        torch.manual_seed(run.seed * steps + step)  # for what a model draws itself
        training.losses.append(training.step(model, share(task.batch("train", run.seed, step), place)))
        tick(1)
        if not math.isfinite(training.losses[-1]):
            tick(steps - step - 1)
            break
        if first and (step + 1) % every == 0:
            training.save(path, identity, time.process_time() - began)
    return found(training, time.process_time() - began)


def found(training: Training, seconds: float) -> Row:
    """What is kept of a training that is over."""
    run, task, losses = training.run, training.task, training.losses
    every = max(1, task.scale.steps // POINTS)
    curve = [fmean(losses[i : i + every]) for i in range(0, len(losses), every)]
    model = training.average.module if training.average else training.model
    finite = all(math.isfinite(value) for value in losses)
    torch.manual_seed(0)
    measures = task.evaluate(model, run.split) if finite else {}
    fit = task.mean_loss(model, "fit") if finite else math.nan
    last = fmean(losses[-max(1, len(losses) // 20) :])
    return {
        "run": {name: getattr(run, name) for name in ("system", "norm", "lr", "seed", "part", "options")},
        "settings": task.settings(),
        "versions": versions(),
        "failed": not (finite and last < task.trivial),
        "last": rounded(last),  # training loss, mean of the last twentieth
        "fit": rounded(fit),  # training loss in evaluation mode, without augmentation
        "measures": {name: rounded(value) for name, value in measures.items()},
        "curve": [rounded(value) for value in curve],
        "seconds": round(seconds, 1),  # of the processor
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
    }


def rounded(value: float) -> float | None:
    """JSON knows no infinities."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
