"""What a provider holds between forward and backward."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def held(forward: Callable[[], object], x: Tensor, parameters: Iterable[Tensor]) -> tuple[int, int]:
    """Bytes of x that forward saves for the backward, and bytes of everything else, parameters left out.

    Storages are counted, each once: a view holds all of its storage. x is there anyway wherever another layer or the
    residual stream keeps it, so it counts apart.
    """
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()  # kept until all is counted, or another storage might get the address of one that is gone
    for parameter in parameters:
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    of_input = storages.pop(x.untyped_storage().data_ptr(), 0)
    del output
    return of_input, sum(storages.values())
