"""What `benchmarks/gpu.py` compares: Derf, its peers and a copy, on the same arguments, checked before timing."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from gpu_report import MODELS
from providers import ARGUMENTS, Functions, Provider, compiled_derf, eager_derf, fused_derf, layer_norm, rms_norm
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

Shape = tuple[int, ...]


def liger_dyt(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from liger_kernel.ops.dyt import LigerDyTFunction

    return LigerDyTFunction.apply(x, alpha, weight, bias)


PROVIDERS: dict[str, tuple[Provider, str]] = {  # and the arguments that have a gradient
    "derf": (fused_derf, "x alpha shift weight bias"),
    "layer_norm": (layer_norm, "x weight bias"),
    "rms_norm": (rms_norm, "x weight"),
    "eager": (eager_derf, "x alpha shift weight bias"),
    "compiled": (compiled_derf, "x alpha shift weight bias"),
    "liger_dyt": (liger_dyt, "x alpha weight bias"),
}
# To get ready takes some of them seconds for each shape or width, more than the whole benchmark may take.
LEFT_OUT = ["compiled is measured at the shapes of models, and at the others in bfloat16 alone"]
if find_spec("liger_kernel"):
    LEFT_OUT.append("liger_dyt is measured in bfloat16 alone")
else:
    LEFT_OUT.append("liger_dyt is left out: there is no package liger_kernel here")
    del PROVIDERS["liger_dyt"]


def providers_for(shape: Shape, dtype: str) -> list[str]:
    if len(shape) == 4:  # the others have no dimension of channels but the last
        return ["derf", "eager"]
    left_out = set()
    if dtype != "bfloat16":
        left_out = {"liger_dyt"} if shape in MODELS.values() else {"liger_dyt", "compiled"}
    return [name for name in PROVIDERS if name not in left_out]


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Case:
    """One shape and dtype: the arguments that all providers get, and what is timed."""

    def __init__(self, shape: Shape, dtype: str, device: str = "cuda") -> None:
        torch.manual_seed(0)
        kind = {"dtype": getattr(torch, dtype), "device": device}
        channels = shape[1]
        self.shape, self.dtype, self.notes = shape, dtype, []
        self.x, self.gradient = torch.randn(shape, **kind), torch.randn(shape, **kind)
        parameters = [torch.tensor([0.5], **kind), torch.tensor([0.1], **kind)]
        parameters += [1 + 0.1 * torch.randn(channels, **kind), 0.1 * torch.randn(channels, **kind)]
        self.arguments = [tensor.requires_grad_() for tensor in (self.x.detach(), *parameters)]
        self.copied = torch.empty_like(self.x)
        self.bytes = self.x.numel() * self.x.element_size()
        self.providers = [name for name in providers_for(shape, dtype) if self._comparable(name)]

    def forward(self, name: str) -> Tensor:
        with torch.no_grad():
            return PROVIDERS[name][0](*self.arguments)

    def _differentiated(self, name: str) -> list[Tensor]:
        return [self.arguments[ARGUMENTS.index(argument)] for argument in PROVIDERS[name][1].split()]

    def backward(self, name: str) -> Callable[[], tuple[Tensor, ...]]:
        # The edge alone keeps the graph: the outputs of all providers would fill the memory.
        edge = get_gradient_edge(PROVIDERS[name][0](*self.arguments))
        wanted = self._differentiated(name)
        return lambda: torch.autograd.grad(edge, wanted, self.gradient, retain_graph=True)

    def forward_backward(self, name: str) -> tuple[Tensor, ...]:
        output = PROVIDERS[name][0](*self.arguments)
        return torch.autograd.grad(output, self._differentiated(name), self.gradient)

    def _comparable(self, name: str) -> bool:
        """Check a provider. A peer that does not run here or is wrong is left out with a note; derf must be right."""
        try:
            results = (self.forward(name), *self.backward(name)(), *self.forward_backward(name))
            for result in results:
                assert result.dtype == self.x.dtype, f"gives {result.dtype} for {self.x.dtype}"
            if name in ("derf", "eager", "compiled"):
                self._check_values(results[0], results[1])
        except Exception as error:
            if name == "derf":
                raise
            self.notes.append(f"{name} left out at {self.shape}, {self.dtype}: {first_line(error)}")
            return False
        return True

    def _check_values(self, output: Tensor, grad_x: Tensor) -> None:
        """Compare with eager Derf in float64, on the first rows or the first image."""
        some = slice(0, 1 if len(self.shape) == 4 else 64)
        x, *parameters = (argument.detach().double() for argument in (self.arguments[0][some], *self.arguments[1:]))
        expected = eager_derf(x.requires_grad_(), *parameters)
        (expected_grad,) = torch.autograd.grad(expected, x, self.gradient[some].double())
        for what, result, truth in (("forward", output, expected), ("backward", grad_x, expected_grad)):
            # Eager PyTorch rounds after each of four operations forward, and of a few more backward.
            bound = 4 * torch.finfo(output.dtype).eps * truth.abs().max().item()
            wrong = (result[some].double() - truth).abs().max().item()
            assert wrong <= bound, f"{what} off by {wrong:.3g}, allowed {bound:.3g}"

    def functions(self, what: str) -> Functions:
        make = {
            "forward": lambda name: partial(self.forward, name),
            "backward": self.backward,
            "forward+backward": lambda name: partial(self.forward_backward, name),
        }[what]
        copy = partial(self.copied.copy_, self.x)
        return {"copy": copy, **{name: make(name) for name in self.providers}}
