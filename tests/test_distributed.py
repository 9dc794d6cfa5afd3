"""DTensor, tensor parallelism, FSDP, DDP and distributed checkpoints, on gloo with 2 and 4 processes."""

import re
import subprocess
import sys
from pathlib import Path

import derf.distributed
import pytest
import torch
import torch.distributed.checkpoint as dcp

RUN = Path(__file__).parent / "run_distributed.py"
CHECKS = re.findall(r"^@check\ndef (\w+)", RUN.read_text(), re.M)


def process_group(size, folder):
    """What went wrong in each check of each process; of one that stopped, what it said."""
    folder.mkdir()
    commands = [[sys.executable, RUN, str(rank), str(size), folder] for rank in range(size)]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, **pipe) for command in commands]
    said = [process.communicate(timeout=400)[0] for process in processes]
    files = [folder / f"{rank}.pt" for rank in range(size)]
    return [torch.load(file) if file.exists() else text for file, text in zip(files, said, strict=True)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By number of processes; two come first, and leave a checkpoint."""
    folder = tmp_path_factory.mktemp("distributed")
    return {size: process_group(size, folder / str(size)) for size in (2, 4)} | {"checkpoint": folder / "checkpoint"}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("size", [2, 4])
def test_on_gloo(size, name, results):
    for rank, result in enumerate(results[size]):
        assert isinstance(result, dict), f"process {rank} of {size} stopped:\n{result}"
        assert result[name] is None, f"in process {rank} of {size}:\n{result[name]}"


def test_a_checkpoint_of_two_processes_loads_in_one(results):
    layer = derf.Derf(16, dtype=torch.float64)
    state = {"model": {f"1.{name}": value.clone() for name, value in layer.state_dict().items()}}
    dcp.load(state, checkpoint_id=str(results["checkpoint"]), no_dist=True)
    assert state["model"]["1.alpha"].item() != 0.5  # trained
    layer.load_state_dict({name.removeprefix("1."): value for name, value in state["model"].items()})
