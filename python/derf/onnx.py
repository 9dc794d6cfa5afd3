"""The layers in ONNX models."""

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

from .functions import evaluate, functions


def translation_table() -> dict[OpOverload, Callable[..., Any]]:
    """Return what ``torch.onnx.export`` needs to export models with these layers, as standard ONNX operators.

    ``torch.onnx.export(model, inputs, dynamo=True, custom_translation_table=derf.onnx.translation_table())``

    The model needs nothing of derf where it runs. Arithmetic is in float32 (float64 for float64), as in the operator;
    a function is its formula from :func:`derf.functions`, so that a square may overflow where the operator's does not
    (float32 beyond 1e19). Needs the packages ``onnx`` and ``onnxscript``, as
    ``torch.onnx.export`` itself.

    >>> import derf
    >>> [str(operator) for operator in derf.onnx.translation_table()]
    ['derf.derf.default', 'derf.pointwise_norm.default', 'derf.add_pointwise_norm.default']
    """
    from onnxscript import ir, opset18

    op: Any = opset18

    def pointwise_norm(
        input: Any,
        alpha: Any,
        shift: Any = None,
        weight: Any = None,
        bias: Any = None,
        function: str = "erf",
        channel_dim: int = -1,
        weight_offset: float = 0.0,
        dead_zone: float = 0.0,
        input_shift: float = 0.0,
        linear_mix: float = 0.0,
        clip: float | None = None,
        output_shift: float = 0.0,
        sign: int = 1,
    ) -> Any:
        compute = ir.DataType.DOUBLE if input.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
        rank = len(input.shape)
        dimensions_after = -1 - channel_dim if channel_dim < 0 else rank - 1 - channel_dim

        def wide(value: Any) -> Any:
            return value if value.dtype == compute else op.Cast(value, to=int(compute))

        def beside(parameter: Any) -> "_Node":
            value = wide(parameter)
            if not rank:
                value = op.Squeeze(value)
            elif dimensions_after > 0 and tuple(parameter.shape) != (1,):
                value = op.Unsqueeze(value, op.Constant(value_ints=list(range(-dimensions_after, 0))))
            return _Node(op, value, compute)

        u = beside(alpha) * _Node(op, wide(input), compute)
        u = u if shift is None else u + beside(shift)
        v = u - u.clip(-dead_zone, dead_zone) if dead_zone else u
        v = v + input_shift if input_shift else v
        v = evaluate(functions()[function].formula, v, _ELEMENTARY)
        v = (1 - linear_mix) * v + linear_mix * u if linear_mix else v
        v = v if clip is None else v.clip(-clip, clip)
        v = v + output_shift if output_shift else v
        v = v if sign == 1 else -v
        if weight is not None:
            v = v * (beside(weight) + weight_offset if weight_offset else beside(weight))
        v = v if bias is None else v + beside(bias)
        return v.value if input.dtype == compute else op.Cast(v.value, to=int(input.dtype))

    def derf(input: Any, alpha: Any, shift: Any, weight: Any = None, bias: Any = None, channel_dim: int = -1) -> Any:
        return pointwise_norm(input, alpha, shift, weight, bias, channel_dim=channel_dim)

    def add_pointwise_norm(
        input: Any,
        residual: Any,
        alpha: Any,
        shift: Any = None,
        weight: Any = None,
        bias: Any = None,
        gate: Any = None,
        function: str = "erf",
        channel_dim: int = -1,
        weight_offset: float = 0.0,
    ) -> tuple[Any, Any]:
        compute = ir.DataType.DOUBLE if input.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
        rank = len(input.shape)
        dimensions_after = -1 - channel_dim if channel_dim < 0 else rank - 1 - channel_dim

        def wide(value: Any) -> _Node:
            return _Node(op, value if value.dtype == compute else op.Cast(value, to=int(compute)), compute)

        product = wide(input)
        if gate is not None:
            factor = wide(gate)
            if dimensions_after > 0 and 0 < len(gate.shape) < rank:
                factor.value = op.Unsqueeze(factor.value, op.Constant(value_ints=list(range(-dimensions_after, 0))))
            product = product * factor
        sum = (wide(residual) + product).value
        if residual.dtype != compute:
            sum = op.Cast(sum, to=int(residual.dtype))
        sum.dtype, sum.shape = residual.dtype, input.shape
        options: dict[str, Any] = {"function": function, "channel_dim": channel_dim, "weight_offset": weight_offset}
        output = pointwise_norm(sum, alpha, shift, weight, bias, **options)
        return output if residual.dtype == input.dtype else op.Cast(output, to=int(input.dtype)), sum

    return {
        torch.ops.derf.derf.default: derf,
        torch.ops.derf.pointwise_norm.default: pointwise_norm,
        torch.ops.derf.add_pointwise_norm.default: add_pointwise_norm,
    }


def _binary(name: str, *, swapped: bool = False) -> Callable[["_Node", Any], "_Node"]:
    def method(self: "_Node", other: Any) -> "_Node":
        operands = (other, self) if swapped else (self, other)
        return self.made_by(name, *operands)

    return method


class _Node:
    """A value of an ONNX graph with Python's arithmetic, whose numbers take its dtype."""

    def __init__(self, op: Any, value: Any, dtype: Any) -> None:
        self.op, self.value, self.dtype = op, value, dtype

    def made_by(self, name: str, *operands: Any) -> "_Node":
        """The result of the operator of that name."""
        values = [each.value if isinstance(each, _Node) else self._constant(each) for each in operands]
        return _Node(self.op, getattr(self.op, name)(*values), self.dtype)

    def _constant(self, number: float) -> Any:
        from onnxscript import ir

        return self.op.Constant(value=ir.tensor(float(number), dtype=self.dtype))

    __add__, __radd__ = _binary("Add"), _binary("Add", swapped=True)
    __sub__, __rsub__ = _binary("Sub"), _binary("Sub", swapped=True)
    __mul__, __rmul__ = _binary("Mul"), _binary("Mul", swapped=True)
    __truediv__, __rtruediv__ = _binary("Div"), _binary("Div", swapped=True)
    __pow__ = _binary("Pow")

    def __neg__(self) -> "_Node":
        return self.made_by("Neg", self)

    def clip(self, low: float, high: float) -> "_Node":
        return self.made_by("Clip", self, low, high)


def _elementary(name: str) -> Callable[[_Node], _Node]:
    return lambda node: node.made_by(name, node)


_ELEMENTARY: dict[str, Callable[..., _Node]] = {
    name.lower(): _elementary(name)
    for name in ("Abs", "Sign", "Sqrt", "Exp", "Log", "Erf", "Tanh", "Atan", "Sin", "Asinh")
} | {"clip": _Node.clip}
