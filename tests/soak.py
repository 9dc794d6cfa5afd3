"""Many calls with the memory of the process flat: python tests/soak.py [--small 1000000] [--large 1000]

Calls of every operator on small tensors of many shapes, dtypes and layouts, forward and backward, errors among them;
then on large ones, which go through the allocator, huge pages and threads. Memory in use (RSS) is read after a tenth of
each, and may be 1 % more at the end. Prints the figures; ends with 1 where it is more.
"""

import argparse
import itertools
import sys
import time

import derf
import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def layers(channels, dtype):
    kinds = [derf.Derf, derf.DyT, derf.AddDerf, lambda c: derf.PointwiseNorm(c, "isru", per_channel=True)]
    return [make(channels).to(dtype) for make in kinds]


def forward(layer, x):
    return layer(x, x)[0] if isinstance(layer, derf.AddDerf) else layer(x)


def one_call(layer, x):
    """Forward and backward."""
    forward(layer, x).sum().backward()
    layer.zero_grad()
    x.grad = None


def one_error(layer, x):
    try:
        forward(layer, x.double() if x.dtype != torch.float64 else x.float())
    except RuntimeError:
        return
    raise AssertionError("no error")


def small_calls():
    made = [(layer, dtype) for dtype in DTYPES for layer in layers(12, dtype)]
    inputs = {
        dtype: [
            torch.randn(shape, dtype=dtype).requires_grad_() for shape in ((12,), (1, 12), (3, 12), (2, 3, 12), (0, 12))
        ]
        + [torch.randn(12, 5, dtype=dtype).T.detach().requires_grad_(), torch.randn(1, 12, dtype=dtype).expand(4, 12)]
        for dtype in DTYPES
    }
    for i in itertools.count():
        layer, dtype = made[i % len(made)]
        x = inputs[dtype][i // len(made) % len(inputs[dtype])]
        if not x.requires_grad:
            x = x.detach().requires_grad_()
        if i % 97 == 0:
            one_error(layer, x)
        elif i % 5 == 0:
            with torch.inference_mode():
                derf.derf(x, layer.alpha, layer.alpha, out=torch.empty_like(x))
        else:
            one_call(layer, x)
        yield


def large_calls():
    for i in itertools.count():
        dtype = DTYPES[i % 2]
        x = torch.randn(2048 + i % 7, 1024, dtype=dtype).requires_grad_()
        one_call(layers(1024, dtype)[i // 2 % 4], x)
        yield


def soak(name, calls, count):
    """Whether memory stayed as it was."""
    begin, first = time.monotonic(), 0
    for i in range(count):
        next(calls)
        if i == count // 10:
            first = resident()
    last = resident()
    growth = last / first - 1
    seconds = time.monotonic() - begin
    print(f"{count} {name} calls, {seconds:.0f} s: {first / 2**20:.1f} MiB, then {last / 2**20:.1f} ({growth:+.2%})")
    return growth < 0.01


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=1_000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    flat = [soak("small", small_calls(), arguments.small), soak("large", large_calls(), arguments.large)]
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
