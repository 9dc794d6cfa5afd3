"""Derf in ONNX models."""

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload


def translation_table() -> dict[OpOverload, Callable[..., Any]]:
    """Return what ``torch.onnx.export`` needs to export models with Derf, as standard ONNX operators.

    ``torch.onnx.export(model, inputs, dynamo=True, custom_translation_table=derf.onnx.translation_table())``

    The model needs nothing of derf where it runs. Arithmetic is in float32 (float64 for float64), as in the operator.
    Needs the packages ``onnx`` and ``onnxscript``, as ``torch.onnx.export`` itself.

    >>> import derf
    >>> list(derf.onnx.translation_table())
    [<OpOverload(op='derf.derf', overload='default')>]
    """
    from onnxscript import ir
    from onnxscript import opset18 as op

    def derf(input: Any, alpha: Any, shift: Any, weight: Any = None, bias: Any = None, channel_dim: int = -1) -> Any:
        compute = ir.DataType.DOUBLE if input.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
        rank = len(input.shape)

        def wide(value: Any) -> Any:
            return value if value.dtype == compute else op.Cast(value, to=int(compute))

        def one(scalar: Any) -> Any:
            return wide(scalar) if rank else op.Squeeze(wide(scalar))

        def beside(parameter: Any) -> Any:
            dimensions_after = -1 - channel_dim if channel_dim < 0 else rank - 1 - channel_dim
            if not dimensions_after:
                return wide(parameter)
            return op.Unsqueeze(wide(parameter), op.Constant(value_ints=list(range(-dimensions_after, 0))))

        y = op.Erf(op.Add(op.Mul(wide(input), one(alpha)), one(shift)))
        if weight is not None:
            y = op.Mul(y, beside(weight))
        if bias is not None:
            y = op.Add(y, beside(bias))
        return y if input.dtype == compute else op.Cast(y, to=int(input.dtype))

    return {torch.ops.derf.derf.default: derf}
