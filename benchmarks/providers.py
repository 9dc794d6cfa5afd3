"""What is compared, each provider a function of the same arguments, and whether it may be.

An input of four dimensions has its channels in dimension 1. There the norms do as the models do that have them
(ConvNeXt's LayerNorm2d): they move the channels to the end and back.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

import derf
import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F

Provider = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Functions = dict[str, Callable[[], object]]
ARGUMENTS = ["x", "alpha", "shift", "weight", "bias"]


def fused_derf(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return derf.derf(x, alpha, shift, weight, bias, 1 if x.dim() == 4 else -1)


def eager_derf(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.dim() == 4:
        weight, bias = weight[:, None, None], bias[:, None, None]
    return weight * torch.erf(alpha * x + shift) + bias


def layer_norm(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.dim() == 4:
        return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias).permute(0, 3, 1, 2)
    return F.layer_norm(x, weight.shape, weight, bias)


def rms_norm(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.dim() == 4:
        return F.rms_norm(x.permute(0, 2, 3, 1), weight.shape, weight).permute(0, 3, 1, 2)
    return F.rms_norm(x, weight.shape, weight)


def eager_dyt(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.dim() == 4:
        weight, bias = weight[:, None, None], bias[:, None, None]
    return weight * torch.tanh(alpha * x) + bias


@cache
def _compile(function: Provider) -> Provider:
    return torch.compile(function, dynamic=False)  # not before it is asked for: the compiler takes seconds to load


def compiled_derf(*arguments: Tensor) -> Tensor:
    return _compile(eager_derf)(*arguments)


def compiled_dyt(*arguments: Tensor) -> Tensor:
    return _compile(eager_dyt)(*arguments)


PROVIDERS: dict[str, tuple[Provider, str]] = {  # and the arguments that have a gradient
    "derf": (fused_derf, "x alpha shift weight bias"),
    "F.layer_norm": (layer_norm, "x weight bias"),
    "F.rms_norm": (rms_norm, "x weight"),
    "compiled Derf": (compiled_derf, "x alpha shift weight bias"),
    "eager Derf": (eager_derf, "x alpha shift weight bias"),
    "compiled DyT": (compiled_dyt, "x alpha weight bias"),
    "eager DyT": (eager_dyt, "x alpha weight bias"),
}


class Comparison:
    """Providers on the same tensors of one shape and dtype, parameters of that dtype too."""

    def __init__(self, shape: Sequence[int], dtype: str, names: Sequence[str], channels_last: bool = False) -> None:
        torch.manual_seed(0)
        kind = {"dtype": getattr(torch, dtype)}
        self.x, self.gradient = torch.randn(shape, **kind), torch.randn(shape, **kind)
        if channels_last:
            self.x, self.gradient = (t.to(memory_format=torch.channels_last) for t in (self.x, self.gradient))
        channels = shape[1]
        parameters = [torch.tensor([0.5], **kind), torch.tensor([0.1], **kind)]
        parameters += [1 + 0.1 * torch.randn(channels, **kind), 0.1 * torch.randn(channels, **kind)]
        self.arguments = [tensor.requires_grad_() for tensor in (self.x.detach(), *parameters)]
        self.copied = torch.empty_like(self.x)
        self.notes: list[str] = []
        self.names = [name for name in names if self._comparable(name)]

    def forward(self, name: str) -> Tensor:
        return PROVIDERS[name][0](*self.arguments)

    def differentiated(self, name: str) -> list[Tensor]:
        return [self.arguments[ARGUMENTS.index(argument)] for argument in PROVIDERS[name][1].split()]

    def backward(self, name: str) -> Callable[[], tuple[Tensor, ...]]:
        # The edge alone keeps the graph: the outputs of all providers would fill the memory.
        edge = get_gradient_edge(self.forward(name))
        return partial(torch.autograd.grad, edge, self.differentiated(name), self.gradient, retain_graph=True)

    def forward_backward(self, name: str) -> Callable[[], tuple[Tensor, ...]]:
        provider, arguments = PROVIDERS[name][0], self.arguments
        wanted, gradient, grad = self.differentiated(name), self.gradient, torch.autograd.grad
        return lambda: grad(provider(*arguments), wanted, gradient)

    def timed(self, what: str) -> Functions:
        """One call of each provider, and of the copy: into a tensor that is there already, as fast as memory allows."""
        names = self.names
        if what == "inference":  # would be one more compilation for each shape
            names = [name for name in names if not name.startswith("compiled")]
        forward = lambda name: partial(PROVIDERS[name][0], *self.arguments)  # noqa: E731
        make = {"backward": self.backward, "forward+backward": self.forward_backward}.get(what, forward)
        return {"copy": partial(self.copied.copy_, self.x), **{name: make(name) for name in names}}

    def _comparable(self, name: str) -> bool:
        """Check a provider. A peer that does not run here or is wrong is left out with a note; derf must be right."""
        try:
            output, gradients = self.forward(name), self.forward_backward(name)()
            for result in (output, *gradients):
                if result.dtype != self.x.dtype:
                    raise ValueError(f"gives {result.dtype} for {self.x.dtype}")
            if name.endswith(("derf", "Derf")):
                self._check_values(output, gradients[0])
        except Exception as error:
            if name == "derf":
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.notes.append(f"{name} left out at {tuple(self.x.shape)}, {self.x.dtype}: {reason}")
            return False
        return True

    def _check_values(self, output: Tensor, grad_x: Tensor) -> None:
        """Compare with eager Derf in float64, on the first rows or the first image."""
        some = slice(0, 1 if self.x.dim() == 4 else 64)
        x, *parameters = (argument.detach().double() for argument in (self.x[some], *self.arguments[1:]))
        expected = eager_derf(x.requires_grad_(), *parameters)
        (expected_grad,) = torch.autograd.grad(expected, x, self.gradient[some].double())
        for what, result, truth in (("forward", output, expected), ("backward", grad_x, expected_grad)):
            # Eager PyTorch rounds after each of four operations forward, and of a few more backward.
            bound = 4 * torch.finfo(output.dtype).eps * truth.abs().max().item()
            wrong = (result[some].double() - truth).abs().max().item()
            if not wrong <= bound:
                raise ValueError(f"{what} off by {wrong:.3g}, allowed {bound:.3g}")
