"""What the CUDA kernels ask of a GPU's memory, counted without a GPU: `python benchmarks/gpu_traffic.py`.

The kernels' own source runs on the host, and each load and store of each thread is recorded (`tests/cuda_on_host`).
The threads of a warp that execute one instruction are taken together, as the hardware does. Two counts of bytes:

* memory: every 32-byte sector that a kernel touches, once: the traffic where the L2 cache keeps what blocks share.
* L2: the sectors that each block touches, once a block, and every store: what multiprocessors ask of the L2 cache.

The minimum is each element of each tensor and parameter once. Of a large tensor a part of the rows runs, on the same
part of the multiprocessors, which have the same work each. (`benchmarks/gpu_model.py` makes times of it.)
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
PROCESSORS = 132  # of an H100 or H200
SECTOR = 32
TENSORS = ("input", "output", "grad_output", "grad_input")  # all others are parameters and their gradients


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, ...]
    dtype: str = "bfloat16"
    channels_last: bool = False
    part: int = 1  # of the rows and of the multiprocessors

    @property
    def channel_dim(self) -> int:
        return 1 if len(self.shape) == 4 else -1

    @property
    def weight_shape(self) -> list[int]:
        """Of three dimensions: adaLN's, for each sample its own."""
        channels = self.shape[self.channel_dim]
        return [self.shape[0], 1, channels] if len(self.shape) == 3 else [channels]


CASES = [
    Case("ViT-B", (64 * 197, 768), part=4),
    Case("GPT-2", (8192, 768), part=4),
    Case("GPT-2", (8192, 768), "float32", part=4),
    Case("GPT-2, one sequence", (1024, 768)),
    Case("GPT-2, one sequence", (1024, 768), "float32"),
    Case("LLaMA-7B", (2048, 4096), part=4),
    Case("one token", (1, 768)),
    Case("DiT-XL, modulated", (8, 256, 1152)),
    Case("large", (32768, 4096), part=33),
    Case("large", (32768, 4096), "float32", part=66),
    Case("odd rows", (4096, 767), part=4),
    Case("ConvNeXt", (32, 96, 56, 56), part=4),
    Case("images 14 x 14", (32, 384, 14, 14), part=4),
    Case("images 17 x 17", (32, 384, 17, 17), part=4),
    Case("images 7 x 7", (32, 768, 7, 7), part=4),
    Case("images 7 x 7, odd channels", (32, 381, 7, 7)),
    Case("channels_last", (32, 384, 14, 14), channels_last=True, part=4),
]


def library():
    """The kernels with a recorder, in the place of the CPU's own in this process."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import derf  # noqa: F401
    import on_host

    on_host.build("cuda_on_host", "cuda_traffic")
    torch.ops.derf_cuda_on_host.record()
    return torch.ops.derf_cuda_on_host


def run(host, case: Case, processors: int) -> Iterator[tuple[str, dict[str, torch.Tensor], list[dict]]]:
    """Direction, tensors by name, and what the recorder says of each launch."""
    host.install(max(1, processors // case.part), False, False)
    dtype = getattr(torch, case.dtype)
    shape = (max(1, case.shape[0] // case.part), *case.shape[1:])
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    x, grad_output = (torch.randn(shape).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    alpha, shift = torch.full((1,), 0.5, dtype=dtype), torch.zeros(1, dtype=dtype)
    weight, bias = torch.zeros(case.weight_shape, dtype=dtype), torch.zeros(case.weight_shape, dtype=dtype)
    arguments = {"input": x, "alpha": alpha, "shift": shift, "weight": weight, "bias": bias}
    host.report()
    offset = float(len(shape) == 3)
    output = torch.ops.derf.pointwise_norm(*arguments.values(), channel_dim=case.channel_dim, weight_offset=offset)
    yield "forward", {**arguments, "output": output}, json.loads(host.report())
    options = ["erf", offset, 0.0, 0.0, 0.0, None, 0.0, 1]
    gradients = torch.ops.derf.pointwise_norm_backward(
        grad_output, *arguments.values(), case.channel_dim, *options, [True] * 5
    )
    results = {f"grad_{name}": gradient for name, gradient in zip(arguments, gradients, strict=True)}
    del arguments["bias"]
    yield "backward", {**arguments, "grad_output": grad_output, **results}, json.loads(host.report())


def measured(case: Case, direction: str, tensors: dict[str, torch.Tensor], launches: list[dict]) -> dict:
    """One row of the table."""
    names = {tensor.data_ptr(): name for name, tensor in tensors.items()}
    minimum = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    of_tensors = sum(tensors[name].numel() * tensors[name].element_size() for name in TENSORS if name in tensors)
    memory = level2 = parameters = partial = used = sectors = 0
    for launch in launches:
        for buffer in launch["buffers"]:
            name = names.get(buffer["address"], "partial sums")
            of_buffer = SECTOR * (buffer["read"]["block_sectors"] + buffer["written"]["sectors"])
            memory += SECTOR * (buffer["read"]["kernel_sectors"] + buffer["written"]["kernel_sectors"])
            level2 += of_buffer
            if name in TENSORS:
                for way in ("read", "written"):
                    used += buffer[way]["bytes"]
                    sectors += buffer[way]["sectors"]
            elif name == "partial sums":
                partial += of_buffer
            else:
                parameters += of_buffer
    return {
        "name": case.name,
        "shape": case.shape,
        "dtype": case.dtype,
        "part": case.part,
        "direction": direction,
        "tensors": of_tensors,
        "minimum": minimum,
        "memory": memory,
        "L2": level2,
        "parameters": parameters,
        "partial sums": partial,
        "coalesced": used / (SECTOR * sectors),
        "kernel": launches[0]["kernel"],
        "blocks": [launch["blocks"] for launch in launches],
        "threads": launches[0]["threads"],
        "bank conflicts": max(launch["shared"]["worst"] for launch in launches),
        "first thread": [
            [names.get(_address(launches[0], id), "partial sums"), bytes, write]
            for id, bytes, write in launches[0]["first_thread"]
        ],
    }


def _address(launch: dict, id: int) -> int:
    return next(buffer["address"] for buffer in launch["buffers"] if buffer["id"] == id)


def traffic(cases: list[Case], processors: int) -> list[dict]:
    host = library()
    return [measured(case, *found) for case in cases for found in run(host, case, processors)]


def table(rows: list[dict]) -> str:
    """Markdown."""
    heads = [
        "",
        "shape",
        "dtype",
        "",
        "MiB, least",
        "of memory's",
        "of L2's",
        "parameters",
        "partial sums",
        "sectors used",
        "bank conflicts",
        "blocks",
    ]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        share = {name: f"{row[name] / row['minimum']:.1%}" for name in ("parameters", "partial sums")}
        lines.append(
            [
                row["name"],
                " x ".join(map(str, row["shape"])) + (f" / {row['part']}" if row["part"] > 1 else ""),
                row["dtype"],
                row["direction"],
                f"{row['minimum'] / 2**20:.2f}",
                f"{row['minimum'] / row['memory']:.3f}",
                f"{row['minimum'] / row['L2']:.3f}",
                share["parameters"],
                share["partial sums"],
                f"{row['coalesced']:.3f}",
                {0: "", 1: "none"}.get(row["bank conflicts"], f"{row['bank conflicts']}-way"),
                " + ".join(map(str, row["blocks"])),
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.5), sharex=True, sharey=True, layout="constrained")
    for axis, direction in zip(axes, ("forward", "backward"), strict=True):
        shown = [row for row in rows if row["direction"] == direction]
        labels = [f"{row['name']}: {' x '.join(map(str, row['shape']))} {row['dtype']}" for row in shown]
        for of, marker in (("L2", "s"), ("memory", "o")):
            axis.scatter([row[of] / row["minimum"] for row in shown], labels, marker=marker, label=f"asked of {of}")
        axis.axvline(1, color="black", linestyle="--", linewidth=1)
        axis.set(title=direction, xlabel="bytes, in multiples of the least")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--processors", type=int, default=PROCESSORS, help="of the GPU (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print all that was counted, and write nothing")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="for table and plot (default: %(default)s)")
    arguments = parser.parse_args()
    rows = traffic(CASES, arguments.processors)
    if arguments.json:
        print(json.dumps(rows))
        return
    text = table(rows)
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu_traffic.md").write_text(text)
    kept = [{name: value for name, value in row.items() if name not in ("kernel", "first thread")} for row in rows]
    (arguments.out / "gpu_traffic.json").write_text("[\n" + ",\n".join(map(json.dumps, kept)) + "\n]\n")
    try:
        plot(rows, arguments.out / "gpu_traffic.png")
    except ImportError as error:
        print(f"no plot: {error}")


if __name__ == "__main__":
    main()
