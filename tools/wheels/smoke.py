"""Runs where torch and derf are installed: every kind of use once, against float64. Needs no test suite.

The library in use must be the one for this torch.
"""

import time

import torch

start = time.perf_counter()
import derf  # noqa: E402

print(f"import derf: {time.perf_counter() - start:.2f} s after torch")
print(derf.show_config())
minor = ".".join(torch.__version__.split(".")[:2])
cuda = f"cu{torch.version.cuda.split('.')[0]}" if torch.version.cuda else "cpu"
assert f"compiled for: torch {minor}." in derf.show_config()
tags = [f"(torch{minor.replace('.', '_')}_{kind})" for kind in (cuda, "cpu")]
assert any(tag in derf.show_config() for tag in tags), f"none of {tags}"

torch.manual_seed(0)
x = torch.randn(7, 33, dtype=torch.float64, requires_grad=True)
layer = derf.Derf(33).double()
parameters = (layer.alpha, layer.shift, layer.weight, layer.bias)
expected = layer.weight * torch.erf(layer.alpha * x + layer.shift) + layer.bias
torch.testing.assert_close(layer(x), expected, rtol=0, atol=2**-50)  # some ulp of 1
assert torch.autograd.gradcheck(torch.ops.derf.derf, (x, *parameters))
few = x[:2, :3].detach().requires_grad_()
assert torch.autograd.gradgradcheck(torch.ops.derf.derf, (few, layer.alpha, layer.shift))

for dtype, ulps in ((torch.float32, 4), (torch.float16, 1), (torch.bfloat16, 1)):
    narrow = x.detach().to(dtype).requires_grad_()
    output = derf.Derf(33).to(dtype)(narrow)
    output.float().square().sum().backward()
    expected = torch.erf(0.5 * narrow.detach().double())
    error = (output.double() - expected).abs().max().item()
    assert error <= ulps * torch.finfo(dtype).eps, (dtype, error)
    assert narrow.grad.isfinite().all()

for function in derf.functions():
    assert derf.PointwiseNorm(33, function=function)(torch.randn(5, 33)).isfinite().all(), function

many = torch.randn(512, 4096)  # enough for more than one thread
error = (derf.Derf(4096)(many) - torch.erf(0.5 * many.double())).abs().max().item()  # torch's float32 errs more on Arm
assert error <= 4 * torch.finfo(many.dtype).eps, error

model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.Linear(16, 1))
model, report = derf.replace_norm(model, return_report=True)
assert len(report.replaced) == 1, report
mapped = torch.func.vmap(model)(torch.randn(3, 2, 8))
assert mapped.shape == (3, 2, 1)
exported = torch.export.export(model, (torch.randn(2, 8),))
inputs = torch.randn(2, 8)
torch.testing.assert_close(exported.module()(inputs), model(inputs), rtol=0, atol=0)
print("smoke test passed")
