"""How batches go through a model that is only looked at: in eval mode, without gradients, with nothing left behind."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[[nn.Module, Any], Any]


def call(model: nn.Module, batch: Any) -> Any:
    """The model's output: a mapping is passed by keyword, a tuple or list by position, anything else as it is."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, (tuple, list)):
        return model(*batch)
    return model(batch)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; afterwards every module is in the mode that it was in.

    torch's Transformer layers have a fused eval-mode path that calls no submodule, hooks or not: it is off meanwhile.
    """
    modes = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in modes.items():
            module.training = mode


def check_batch(model: nn.Module, batch: Any, argument: str, *, devices: bool) -> None:
    """Raise ValueError where the batch has an empty tensor, a NaN, or one on a device that the model is not on."""
    places = {parameter.device for parameter in model.parameters()}
    if hasattr(model, "hf_device_map"):  # its hooks move what comes in
        devices = False
    for tensor in _tensors(batch):
        if not tensor.numel():
            raise ValueError(f"derf: {argument} must not be empty, but has a tensor of shape {list(tensor.shape)}")
        if devices and places and tensor.device not in places:
            raise ValueError(
                f"derf: {argument} must be on the model's device, {', '.join(sorted(map(str, places)))}, but has a "
                f"tensor on {tensor.device}. Move it, or pass a forward that does."
            )
        # -Inf is what a mask that is added to attention's scores is made of; where more is infinite, a layer says so.
        if tensor.is_floating_point() and tensor.isnan().any():
            raise ValueError(f"derf: {argument} must be finite, but has NaN in a tensor of shape {list(tensor.shape)}")


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, (tuple, list)):
        for value in batch:
            yield from _tensors(value)


def check_plain(model: nn.Module, what: str) -> None:
    """Raise TypeError where the model is no module, or is compiled, scripted or distributed: hooks do not reach it."""
    from .plan import refuse_wrapped

    if not isinstance(model, nn.Module):
        raise TypeError(f"derf: model must be a torch.nn.Module, but is of type {type(model).__qualname__}: {model!r}")
    for name, module in model.named_modules():
        refuse_wrapped(name or "model", module, what)
