"""Agreement between the processes of torch.distributed, where it is initialised; nothing elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def several() -> bool:
    """Whether there are other processes."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@contextmanager
def agree() -> Iterator[None]:
    """Where the body fails in one process, it fails in all, so that none waits for another for ever."""
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    if several():
        said: list[str | None] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(said, None if error is None else str(error))
        failed = {rank: text for rank, text in enumerate(said) if text is not None}
        if error is None and failed:
            rank, text = next(iter(failed.items()))
            raise RuntimeError(f"derf: process {rank} failed: {text}")
    if error is not None:
        raise error


def same_everywhere(value: object, what: str) -> None:
    """Raise RuntimeError where another process has another value."""
    if several():
        values: list[object] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(values, value)
        if any(other != values[0] for other in values):
            raise RuntimeError(f"derf: {what} must be the same in all processes, but are {values}")


def broadcast(tensors: list[Tensor]) -> None:
    """The tensors become those of process 0."""
    if several():
        for tensor in tensors:
            torch.distributed.broadcast(tensor, 0)


def summed(tensors: list[Tensor]) -> None:
    """The tensors become their sums over all processes."""
    if several():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def averaged(tensors: list[Tensor]) -> None:
    """The tensors become their means over all processes."""
    summed(tensors)
    if several():
        for tensor in tensors:
            tensor /= torch.distributed.get_world_size()
