"""Which modules are normalization layers, and what each of them is made of.

A class is known from the registry, or else by what it computes (observe.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from .modules import PointwiseNorm
from .observe import Unsuitable, observe


@dataclass(frozen=True)
class NormSpec:
    """What a normalization layer is made of: all that a Derf in its place has to know.

    Args:
        normalized_shape: the sizes of the last dimensions of the input, or the number of channels along channel_dim.
        weight: the layer's own parameter of shape normalized_shape, or None.
        bias: likewise.
        channel_dim: the input's dimension of the channels: -1 for the last ones, 1 for [N, C, H, W].
        weight_offset: what the layer adds to weight before it multiplies; 1 where a weight of 0 means a factor of 1.

    >>> import torch, derf
    >>> norm = torch.nn.LayerNorm(8)
    >>> derf.NormSpec((8,), norm.weight, norm.bias).channel_dim
    -1
    """

    normalized_shape: tuple[int, ...]
    weight: nn.Parameter | None = None
    bias: nn.Parameter | None = None
    channel_dim: int = -1
    weight_offset: float = 0.0


Adapter = Callable[[nn.Module], NormSpec | None]


def _adapt(norm: Any) -> NormSpec:
    """Read the attributes whose names PyTorch, apex, flash_attn and mamba_ssm agree on."""
    shape = getattr(norm, "normalized_shape", None) or norm.weight.shape
    return NormSpec(tuple(shape), norm.weight, getattr(norm, "bias", None))


def _adapt_liger(norm: Any) -> NormSpec:
    return replace(_adapt(norm), weight_offset=float(norm.offset))


# By qualified name, so that no library is imported to be recognised. Those that are not PyTorch's run on a GPU alone;
# any other class can be observed.
_registry: dict[str, Adapter] = {
    "torch.nn.modules.normalization.LayerNorm": _adapt,
    "torch.nn.modules.normalization.RMSNorm": _adapt,
    "apex.normalization.fused_layer_norm.FusedLayerNorm": _adapt,
    "apex.normalization.fused_layer_norm.FusedRMSNorm": _adapt,
    "apex.normalization.fused_layer_norm.MixedFusedLayerNorm": _adapt,
    "apex.normalization.fused_layer_norm.MixedFusedRMSNorm": _adapt,
    "flash_attn.ops.rms_norm.RMSNorm": _adapt,
    "liger_kernel.transformers.rms_norm.LigerRMSNorm": _adapt_liger,
    "mamba_ssm.ops.triton.layer_norm.RMSNorm": _adapt,
}


def qualified_name(cls: type) -> str:
    """The name by which a class is registered: its module and its own, with dots."""
    return f"{cls.__module__}.{cls.__qualname__}"


def register_norm(cls: type[nn.Module] | str, adapter: Adapter) -> None:
    """Teach :func:`derf.replace_norm` a class of normalization layers, or another way to read a known one.

    Most classes need no registration: one that has "norm" in its name or in an ancestor's, and computes a LayerNorm or
    an RMSNorm of its input's last dimensions or of dimension 1, is recognised by that. Register those that compute
    something else and shall be replaced all the same, that cannot run on the CPU, or that shall stay.

    Args:
        cls: the class, or its qualified name ("package.module.Class"), which spares importing it. Subclasses that
            inherit its forward are read alike; those with a forward of their own are not.
        adapter: takes the layer and returns a :class:`derf.NormSpec` whose weight and bias are parameters of that very
            layer, or None where the layer shall stay as it is.

    Raises:
        TypeError: where cls is neither a class of modules nor a string, or adapter is not callable.

    >>> import torch, derf
    >>> class Whitening(torch.nn.Module):
    ...     def __init__(self, size):
    ...         super().__init__()
    ...         self.gain = torch.nn.Parameter(torch.ones(size))
    >>> derf.register_norm(Whitening, lambda norm: derf.NormSpec(tuple(norm.gain.shape), weight=norm.gain))
    >>> derf.replace_norm(Whitening(4))
    Derf((4,), alpha_init=0.5, shift_init=0.0, bias=False)
    """
    if not isinstance(cls, str) and not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise TypeError(f"derf: cls must be a class of torch.nn.Module or a qualified name, but is {cls!r}")
    if not callable(adapter):
        raise TypeError(f"derf: adapter must be callable, but is {adapter!r}")
    _registry[cls if isinstance(cls, str) else qualified_name(cls)] = adapter


def _registered(cls: type) -> Adapter | None:
    """The adapter of the class, or of the ancestor whose forward it inherits."""
    for ancestor in cls.__mro__:
        adapter = _registry.get(qualified_name(ancestor))
        if adapter and getattr(ancestor, "forward", None) is getattr(cls, "forward", None):
            return adapter
    return None


def looks_like_norm(module: nn.Module) -> bool:
    """Whether the module's class is registered or calls itself a norm. What it is, :func:`describe` finds out."""
    if isinstance(module, PointwiseNorm):  # Norm by name alone
        return False
    if _registered(type(module)):
        return True
    named = any("norm" in cls.__name__.lower() for cls in type(module).__mro__)
    return named and bool(module._parameters or not module._modules)  # with submodules alone it merely holds a norm


def describe(module: nn.Module) -> NormSpec:
    """What a module that looks like a normalization layer is made of.

    Raises:
        Unsuitable: where a Derf cannot replace it; the message says why.
        TypeError: where its adapter returns no spec.
    """
    parameters = {name: p for name, p in module._parameters.items() if p is not None}
    adapter = _registered(type(module))
    if adapter:
        spec = adapter(module)
        if spec is None:
            raise Unsuitable("its adapter leaves it")
        if not isinstance(spec, NormSpec):
            raise TypeError(
                f"derf: the adapter of {type(module).__qualname__} must return a NormSpec, but gave {spec!r}"
            )
    else:
        observed = observe(module)
        weight, bias = parameters.get(observed.weight), parameters.get(observed.bias)
        spec = NormSpec(observed.shape, weight, bias, observed.channel_dim, observed.weight_offset)
    for name in ("weight", "bias"):
        parameter = getattr(spec, name)
        if parameter is None:
            continue
        if not any(parameter is own for own in parameters.values()):
            raise Unsuitable(f"its {name} is no parameter of its own")
        if tuple(parameter.shape) != spec.normalized_shape:
            raise Unsuitable(f"its {name} has shape {list(parameter.shape)}, not {list(spec.normalized_shape)}")
    others = [name for name, p in parameters.items() if p is not spec.weight and p is not spec.bias]
    if others:
        raise Unsuitable(f"it has further parameters: {', '.join(others)}")
    return spec
