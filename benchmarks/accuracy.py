"""How exact derf's error function and slope are on each instruction set: `python benchmarks/accuracy.py`, a minute,
which prints the errors and writes them to results/accuracy.json. `python benchmarks/accuracy.py family` prints the
worst errors of all other functions, two minutes.

float32 and 16-bit values are compared with float64 (whose own error, below 2^-52, is not seen there) at every 97th
float and on a dense grid, float64 with mpmath's 40 digits. PyTorch's own erf and its formula for the slope, in the
same dtype, stand beside.
"""

import importlib
import json
import math
import sys
from pathlib import Path

import derf
import mpmath
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
avx512_on_host = importlib.import_module("avx512_on_host")  # AVX-512's own source, where the processor has none
RESULTS = Path(__file__).with_name("results") / "accuracy.json"
ON_HOST = [] if avx512_on_host.WHY_NOT else ["avx512 on host"]
family = importlib.import_module("functions_reference")
reference = importlib.import_module("reference")
samples = importlib.import_module("samples")


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


def report(
    name: str, results: tuple[Tensor, Tensor, Tensor], true_value: Tensor, true_slope: Tensor
) -> dict[str, float]:
    """The worst errors; true_value and true_slope are float64."""
    value, value_in_sums, slope = results
    error = (value.double() - true_value).abs()
    normal = true_value.abs() > 2**-100
    large = true_slope >= 2**-20
    slope_error = (slope.double() - true_slope).abs()
    found = {
        "value, ulp": (error / spacing(true_value.to(value.dtype))).max().item(),
        "value, relative": (error / true_value.abs())[normal].max().item(),
        "value in sums, absolute": (value_in_sums.double() - true_value).abs().max().item(),
        "slope, relative": (slope_error / true_slope)[large].max().item(),
        "slope below 2^-20, absolute": slope_error[~large].max().item(),
    }
    print(f"{name:26}", *(f"{what}: {e:.2f}" if "ulp" in what else f"{what}: {bits(e):7}" for what, e in found.items()))
    return found


def worst(name: str, target: str, u: Tensor, exact: tuple[Tensor, Tensor, Tensor]) -> str:
    """The value's worst error in ulp, and the slope's relative one where it is at least 2^-20."""
    results = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
    dtype = str(u.dtype).removeprefix("torch.")
    if target == "composite":
        for order in (0, 1):
            addresses = u.data_ptr(), results[2 * order].data_ptr()
            derf._C.evaluate_composite(name, dtype, order, *addresses, u.numel())
    elif target == "cuda on host":
        results = importlib.import_module("cuda_on_host").library().evaluate(u, u.dtype, name)
    else:
        derf._C.evaluate(name, target, dtype, *(t.data_ptr() for t in (u, *results)), u.numel())
    value, rest, slope = exact
    ulp = reference.ulp_error(results[0], value, u.dtype, rest).max().item()
    large = slope.abs() >= 2**-20
    if name.endswith("_clip"):  # beside the kink a value that rounds to 1 may have either slope
        large &= slope.abs() * (value.abs() - 1).abs() > 2**-20
    relative = ((results[2].double() - slope) / slope)[large].abs().max().item() if large.any() else 0
    return f"{ulp:5.2f} {bits(max(relative, 2**-60)):>7}"


def report_family() -> None:
    targets = [*derf._C.capabilities(), "cuda on host", "composite"]
    print("Worst error of the value in ulp, and relative error of the slope where it is >= 2^-20")
    singles = torch.cat([samples.float32_samples(4), samples.float32_between(2.0**-10, 20.0, 701)])
    doubles = samples.float64_samples(1500)
    for u in (singles, doubles):
        print(f"{u.dtype!s:14}", *(f"{target:>14}" for target in targets))
        for name in family.NAMES:
            if u.dtype == torch.float32:
                value, slope = family.values64(name, u)
                exact = value, torch.zeros(()), slope
            else:
                exact = *family.exact(name, u, 0), family.exact(name, u, 1)[0]
            print(f"{name:14}", *(f"{worst(name, target, u, exact):>14}" for target in targets), flush=True)


def float32_points() -> Tensor:
    every = torch.arange(0, 0x7F800000, 97, dtype=torch.int32).view(torch.float32)
    grid = torch.linspace(0, 6, 6_000_001)
    return torch.cat([every, grid, -grid])


def main() -> None:
    print(derf.show_config(), end="\n\n")
    if "family" in sys.argv[1:]:
        return report_family()
    u = float32_points()
    exact = torch.where(u.abs() < 1e-8, u.double() * 2 / math.sqrt(math.pi), torch.erf(u.double()))
    truth = exact, torchs(u.double())[2]
    capabilities = [*derf._C.capabilities(), *ON_HOST]
    print("float32")
    errors = {"float32": {"PyTorch": report("PyTorch", torchs(u), *truth)}}
    for dtype in ("float32", "float16", "bfloat16"):
        if dtype != "float32":
            print(f"{dtype}, before the rounding to 16 bits")
        for name in capabilities:
            errors.setdefault(dtype, {})[name] = report(f"derf, {name}", ours(name, dtype, u), *truth)
    print("float64")
    errors["float64"] = float64_errors(capabilities)
    RESULTS.write_text(json.dumps({"config": derf.show_config().splitlines(), "errors": errors}, indent=1) + "\n")


def float64_errors(capabilities: list[str]) -> dict[str, dict[str, float]]:
    mpmath.mp.dps = 40
    u = torch.cat([torch.linspace(-6.5, 6.5, 20_001, dtype=torch.float64), torch.logspace(-30, 0, 3001).double()])
    points = [mpmath.mpf(x) for x in u.tolist()]
    values, slopes = [mpmath.erf(x) for x in points], [2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x) for x in points]
    rounded = torch.tensor([float(x) for x in values], dtype=torch.float64)
    ulp = spacing(rounded).tolist()
    errors = {}
    for name in ("PyTorch", *capabilities):
        value, _, slope = torchs(u) if name == "PyTorch" else ours(name, "float64", u)
        worst = max(float(abs(v - t)) / s for v, t, s in zip(value.tolist(), values, ulp, strict=True))
        relative = max(
            float(abs(v - t) / t) for v, t in zip(slope.tolist(), slopes, strict=True) if t >= mpmath.mpf(2) ** -20
        )
        errors[name] = {"value, ulp": worst, "slope, relative": relative}
        print(f"{name:26} value, ulp: {worst:.2f} slope, relative: {bits(relative)}")
    return errors


if __name__ == "__main__":
    main()
