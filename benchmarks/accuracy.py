"""How exact derf's error function and slope are on each instruction set: `python benchmarks/accuracy.py`, a minute.

float32 and 16-bit values are compared with float64 (whose own error, below 2^-52, is not seen there) at every 97th
float and on a dense grid, float64 with mpmath's 40 digits. PyTorch's own erf and its formula for the slope, in the
same dtype, stand beside.
"""

import importlib
import math
import sys
from pathlib import Path

import derf
import mpmath
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
avx512_on_host = importlib.import_module("avx512_on_host")  # AVX-512's own source, where the processor has none
ON_HOST = [] if avx512_on_host.WHY_NOT else ["avx512 on host"]


def ours(capability: str, dtype: str, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, value for sums of gradients, and slope."""
    if capability in ON_HOST:
        return avx512_on_host.library().evaluate(u, getattr(torch, dtype))
    results = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
    derf._C.evaluate("erf", capability, dtype, *(t.data_ptr() for t in (u, *results)), u.numel())
    return results


def torchs(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.erf(u), torch.erf(u), 2 / math.sqrt(math.pi) * torch.exp(-u * u)


def spacing(value: Tensor) -> Tensor:
    """The distance from |value| to the next larger number of its dtype."""
    size = value.abs()
    return torch.nextafter(size, torch.full_like(size, math.inf)).double() - size.double()


def bits(error: float) -> str:
    return f"2^{math.log2(error):.1f}"


def report(name: str, results: tuple[Tensor, Tensor, Tensor], true_value: Tensor, true_slope: Tensor) -> None:
    """true_value and true_slope are float64."""
    value, value_in_sums, slope = results
    error = (value.double() - true_value).abs()
    ulps = (error / spacing(true_value.to(value.dtype))).max().item()
    normal = true_value.abs() > 2**-100
    relative = (error / true_value.abs())[normal].max().item()
    in_sums = (value_in_sums.double() - true_value).abs().max().item()
    large = true_slope >= 2**-20
    slope_error = (slope.double() - true_slope).abs()
    slope_relative = (slope_error / true_slope)[large].max().item()
    line = f"{name:26} value {ulps:8.2f} ulp, relative {bits(relative):7} in sums absolute {bits(in_sums):7}"
    line += f" slope relative {bits(slope_relative):7}"
    print(line + f" absolute, where below 2^-20: {bits(slope_error[~large].max().item())}")


def float32_points() -> Tensor:
    every = torch.arange(0, 0x7F800000, 97, dtype=torch.int32).view(torch.float32)
    grid = torch.linspace(0, 6, 6_000_001)
    return torch.cat([every, grid, -grid])


def main() -> None:
    print(derf.show_config(), end="\n\n")
    u = float32_points()
    exact = torch.where(u.abs() < 1e-8, u.double() * 2 / math.sqrt(math.pi), torch.erf(u.double()))
    truth = exact, torchs(u.double())[2]
    capabilities = [*derf._C.capabilities(), *ON_HOST]
    print("float32")
    report("PyTorch", torchs(u), *truth)
    for dtype in ("float32", "float16", "bfloat16"):
        if dtype != "float32":
            print(f"{dtype}, before the rounding to 16 bits")
        for capability in capabilities:
            report(f"derf, {capability}", ours(capability, dtype, u), *truth)
    print("float64")
    mpmath.mp.dps = 40
    u = torch.cat([torch.linspace(-6.5, 6.5, 20_001, dtype=torch.float64), torch.logspace(-30, 0, 3001).double()])
    points = [mpmath.mpf(x) for x in u.tolist()]
    values, slopes = [mpmath.erf(x) for x in points], [2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x) for x in points]
    rounded = torch.tensor([float(x) for x in values], dtype=torch.float64)
    for name, (value, _, slope) in {
        "PyTorch": torchs(u),
        **{f"derf, {capability}": ours(capability, "float64", u) for capability in capabilities},
    }.items():
        ulp = spacing(rounded).tolist()
        worst = max(float(abs(v - t)) / s for v, t, s in zip(value.tolist(), values, ulp, strict=True))
        relative = max(
            float(abs(v - t) / t) for v, t in zip(slope.tolist(), slopes, strict=True) if t >= mpmath.mpf(2) ** -20
        )
        print(f"{name:26} value {worst:8.2f} ulp, slope relative {bits(relative)}")


if __name__ == "__main__":
    main()
