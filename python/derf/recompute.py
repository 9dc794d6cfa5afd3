"""The outputs of Derf layers are not kept for the backward but computed again there.

What reads a Derf, a Linear mostly, saves the Derf's output, and the Derf itself its input. The output follows from the
input in one cheap pass: during the forward a hook on saved tensors keeps, in place of an output, how to compute it.
"""

import threading
import warnings
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.multiprocessing.reductions import StorageWeakRef

from .modulated import ModulatedDerf
from .modules import STUDY, Derf, PointwiseNorm
from .passes import check_plain

_FORWARDS = (Derf.forward, PointwiseNorm.forward, ModulatedDerf.forward)
_SAME_ORDER = {"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "UnsqueezeBackward0"}
_SAME_ORDER |= {"SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward2"}
_autograd: Any = torch._C._autograd
_top_hooks = getattr(_autograd, "_top_saved_tensors_default_hooks", None)  # torch 2.7 has none


class _Kept:
    """A tensor that is kept as it is. Autograd looks at no version where there are hooks; without the graph of the
    tensor, which may be the output of the node that keeps it."""

    __slots__ = ("_tensor", "_version")

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version = tensor.detach(), tensor._version

    def tensor(self) -> Tensor:
        _check_version(self._tensor, self._version)
        return self._tensor


def _check_version(tensor: Tensor, version: int) -> None:
    if tensor._version != version:
        raise RuntimeError(
            "derf: one of the variables needed for gradient computation has been modified by an inplace operation: a "
            f"tensor of shape {list(tensor.shape)} is at version {tensor._version}; expected version {version} instead."
        )


class _Recipe:
    """How an output is computed again: the operands of the call, which must not change, and its options."""

    def __init__(self, output: Tensor, operands: list[Tensor | None], options: dict[str, Any]) -> None:
        # Without their graph. Detached tensors go on sharing memory and version.
        self.operands = [None if t is None else t.detach() for t in operands]
        self.versions = [0 if t is None else t._version for t in self.operands]
        self.options = options
        self.layout = output.size(), output.stride()
        self.lock = threading.Lock()
        self.places = 0  # where the output would have been kept
        self.backward = -1  # in which it was computed last, and how many places have not asked for it there
        self.waiting = 0
        self.output: Tensor | None = None  # from the first of them to the last

    def compute(self) -> Tensor:
        for tensor, version in zip(self.operands, self.versions, strict=True):
            if tensor is not None and tensor.numel() and not tensor.untyped_storage().nbytes():
                raise RuntimeError(
                    "derf: memory of a layer's parameters or input was freed between forward and backward, as "
                    "fully_shard does with groups of parameters. Shard a layer together with what reads it."
                )
            if tensor is not None:
                _check_version(tensor, version)
        with torch.no_grad():
            output = torch.ops.derf.pointwise_norm(*self.operands, **self.options)
        assert (output.size(), output.stride()) == self.layout
        return output

    def take(self) -> Tensor:
        """The output, for one of the places: queries, keys and values ask for it one after the other."""
        backward = torch._C._current_graph_task_id()
        if self.places == 1 or backward == -1:
            return self.compute()
        with self.lock:
            if backward != self.backward:
                self.backward, self.waiting, self.output = backward, self.places, None
                torch.autograd.Variable._execution_engine.queue_callback(self.release)
            output = self.compute() if self.output is None else self.output
            self.waiting -= 1
            self.output = output if self.waiting > 0 else None
            return output

    def release(self) -> None:
        """Not all places asked: the gradients of some were not wanted."""
        self.output = None


@dataclass
class _Recomputed:
    """What a node of the graph keeps in place of a saved tensor."""

    recipe: _Recipe
    dtype: torch.dtype
    geometry: tuple[Any, ...]  # size, stride, offset

    def tensor(self) -> Tensor:
        return self.recipe.take().to(self.dtype).as_strided(*self.geometry)


@dataclass
class _Known:
    """An output that this forward has seen."""

    recipe: _Recipe
    output: weakref.ref[Tensor]
    storage: StorageWeakRef  # as long as it is held, no other storage gets the same address
    version: int
    node: Node
    contiguous: bool


class _State(threading.local):
    """The forwards that are running in this thread, and the outputs seen in them."""

    def __init__(self) -> None:
        self.running: list[nn.Module] = []
        self.by_storage: dict[int, _Known] = {}
        self.by_node: dict[Node, _Known] = {}

    def clear(self) -> None:
        self.by_storage.clear()
        self.by_node.clear()


_state = _State()


def _pack(tensor: Tensor) -> _Kept | _Recomputed:
    if not _state.by_storage or tensor.is_leaf or not _is_plain(tensor):
        return _Kept(tensor)
    known = _state.by_storage.get(tensor.untyped_storage()._cdata)
    if known is None:
        known = _cast(tensor)
    elif tensor._version != known.version or tensor.dtype != known.recipe.operands[0].dtype:
        known = None
    if known is None or tensor.is_conj() or tensor.is_neg():
        return _Kept(tensor)
    known.recipe.places += 1
    return _Recomputed(known.recipe, tensor.dtype, (tensor.size(), tensor.stride(), tensor.storage_offset()))


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor has memory of its own: no subclass, none of torch.func's, dense."""
    return (
        type(tensor) is Tensor
        and tensor.layout == torch.strided
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def _cast(tensor: Tensor) -> _Known | None:
    """The output of which the tensor is a copy in another dtype, as autocast makes, or a view of such a copy."""
    copy = tensor if tensor._base is None else tensor._base
    if copy._version or copy.grad_fn is None or not copy.grad_fn.name().startswith("ToCopyBackward"):
        return None
    node, viewed = copy.grad_fn.next_functions[0][0], False
    while node is not None and node.name() in _SAME_ORDER:
        node, viewed = node.next_functions[0][0], True
    known = _state.by_node.get(node)
    if known is None or viewed and not known.contiguous or copy.device != known.recipe.operands[0].device:
        return None
    output = known.output()
    if output is None or output._version != known.version:  # it may have changed before it was copied
        return None
    numel = known.recipe.layout[0].numel()
    same = copy.numel() == numel and (copy.is_contiguous() if viewed else copy.stride() == known.recipe.layout[1])
    return known if same and copy.storage_offset() == 0 else None


def _unpack(packed: _Kept | _Recomputed) -> Tensor:
    return packed.tensor()


# Hooks of modules: plain functions, so that models with them are copied and pickled.


def _enter(module: nn.Module, *_: Any) -> None:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return
    if module in _state.running:  # an interrupt left it there
        del _state.running[_state.running.index(module) :]
    if not _state.running:
        _state.clear()
        top = _top_hooks(True)
        if top is not None and top[0] is not _pack:  # of checkpoint, of save_on_cpu: those rule
            return
        if top is None:
            if not _autograd._saved_tensors_hooks_is_enabled():  # inside torch.func
                return
            _autograd._push_saved_tensors_default_hooks(_pack, _unpack)
    _state.running.append(module)


def _leave(module: nn.Module, *_: Any) -> None:
    if torch.compiler.is_compiling() or module not in _state.running:
        return
    del _state.running[_state.running.index(module) :]
    if not _state.running:
        _state.clear()
        top = _top_hooks(True)
        if top is not None and top[0] is _pack:
            _autograd._pop_saved_tensors_default_hooks()


def _see(layer: PointwiseNorm, arguments: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
    if torch.compiler.is_compiling() or not _state.running:
        return
    if not torch.is_grad_enabled() or not _is_plain(output) or output.grad_fn is None or not output.numel():
        return
    if output.storage_offset():  # another layout than a fresh result's
        return
    top = _top_hooks(True)
    if top is None or top[0] is not _pack:  # a checkpointed part of the model
        return
    called = _call(layer, *arguments, **named)
    if called is None:
        return
    recipe = _Recipe(output, *called)
    storage = StorageWeakRef(output.untyped_storage())
    known = _Known(recipe, weakref.ref(output), storage, output._version, output.grad_fn, output.is_contiguous())
    _state.by_storage[storage.cdata] = _state.by_node[output.grad_fn] = known


def _call(
    layer: PointwiseNorm, input: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> tuple[list[Tensor | None], dict[str, Any]] | None:
    """Operands and options of the operator in this call of a layer, or None where they are too large to be kept."""
    weight: Tensor | None = layer.weight
    bias: Tensor | None = layer.bias
    offset = 0.0
    if isinstance(layer, ModulatedDerf):
        with torch.no_grad():
            weight, bias, offset = layer.affine(input, scale, shift)
        if bias is not None and 4 * bias.numel() > input.numel():  # a shift for each token: as much as the output
            return None
    options = {name: getattr(layer, name) for name in ("function", "channel_dim", *STUDY)}
    return [input, layer.alpha, layer.shift, weight, bias], {**options, "weight_offset": offset}


class RecomputedOutputs:
    """What :func:`derf.recompute_outputs` returns: :meth:`remove` ends it, and so does leaving a ``with`` block."""

    def __init__(self, model: nn.Module, hooks: list[Any], layers: int) -> None:
        self._model, self._hooks = model, hooks
        self.layers = layers

    def remove(self) -> None:
        """Take the hooks away. Graphs that were built before keep what they have. A second call does nothing."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        _leave(self._model)  # where an interrupt ended its forward

    def __enter__(self) -> "RecomputedOutputs":
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def recompute_outputs(model: nn.Module) -> RecomputedOutputs:
    """Do not keep the outputs of layers for the backward: compute them again there, from the input that is kept
    anyway.

    What reads a layer's output (usually the next Linear) saves it for its own backward: one activation of the model's
    width for each layer. After this call, the model's forward keeps instead how such an output is computed, or a view
    of it, or the copy that autocast makes of it, whatever reads it. Gradients have the same bits.

    Changing what the output is computed from in place, between forward and backward, is an error, as it is in PyTorch.
    Under ``no_grad`` nothing is done. Inside another context of ``saved_tensors_hooks``, such as those of checkpoint
    and ``save_on_cpu``, the inner one takes precedence, around the model or in a part of it. In compiled code nothing
    is done: torch.compile decides itself what it keeps. Layers with a function of your own keep their outputs, and so
    do :class:`derf.ModulatedDerf` with a shift for each token.

    Call it on the module whose forward is called: a direct call of a submodule does not pass through it. With DDP, call
    it on the module that is wrapped, before or after wrapping. Layers that are added afterwards are not seen.

    Args:
        model: any ``nn.Module`` with layers of this package.

    Returns:
        A handle with a method ``remove()`` that is also a context manager. ``layers`` says how many layers there are.

    Raises:
        TypeError: if model is not an ``nn.Module``, or is or contains a scripted or compiled module or one wrapped by
            DDP or FSDP.
        NotImplementedError: under torch 2.7.

    Source: the trade-off is that of "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.

    >>> import torch, derf
    >>> model = torch.nn.Sequential(derf.Derf(16), torch.nn.Linear(16, 16))
    >>> handle = derf.recompute_outputs(model)
    >>> model(torch.randn(4, 16)).sum().backward()
    >>> handle.remove()
    """
    check_plain(model, "recompute_outputs")
    if _top_hooks is None:
        raise NotImplementedError(
            f"derf.recompute_outputs needs torch 2.8 or newer, and this is torch {torch.__version__}. "
            "torch.utils.checkpoint recomputes layers in this one."
        )
    layers = [module for module in model.modules() if isinstance(module, PointwiseNorm) and _fused(module)]
    if not layers:
        warnings.warn("derf: model has no layer whose output can be computed again", stacklevel=2)
    hooks = [model.register_forward_pre_hook(_enter, prepend=True)]
    hooks.append(model.register_forward_hook(_leave, always_call=True))
    hooks += [layer.register_forward_hook(_see, prepend=True, with_kwargs=True) for layer in layers]
    return RecomputedOutputs(model, hooks, len(layers))


def _fused(layer: PointwiseNorm) -> bool:
    return isinstance(layer.function, str) and type(layer).forward in _FORWARDS
