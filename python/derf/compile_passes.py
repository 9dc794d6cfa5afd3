"""The switch of the fusions in compiled models, which are in inductor.py."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inductor import CompilePasses


def compile_passes() -> "CompilePasses":
    """Let ``torch.compile`` fuse layers with what is around them, from now on.

    ========================================== ========================================================
    a graph contains                           what it becomes
    ========================================== ========================================================
    ``x = r + b``, then a layer of x           ``add_pointwise_norm``
    the same with ``x = r + gate * b``         likewise, with a gate of a channel, sample or group
    ``layer(x) * (1 + scale) + shift``         ``pointwise_norm`` with weight, bias and weight_offset=1
    ========================================== ========================================================

    This works across the borders of modules, and for the backward too. It is done if dtypes and layouts are the same
    and nothing in between could change a tensor. Results are equal within rounding: a product, or a sum of two
    gradients, is not rounded before it is added. What is already compiled is not compiled again.

    It is off by default: on the CPU it was no faster than the addition that ``torch.compile`` generates.

    Returns: A handle that is also a context manager, with a method ``disable()`` and ``fused``, the numbers of fusions.
        A graph that comes from Inductor's cache is not counted.

    >>> import torch, derf
    >>> layer = derf.Derf(8)
    >>> def residual(x, branch):
    ...     x = x + branch
    ...     return x + layer(x)
    >>> passes = derf.compile_passes()
    >>> output = torch.compile(residual)(torch.randn(2, 8), torch.randn(2, 8))  # doctest: +SKIP
    >>> print(passes)  # doctest: +SKIP
    add: 1
    >>> passes.disable()
    """
    from .inductor import CompilePasses  # Inductor takes a second to import

    return CompilePasses()
