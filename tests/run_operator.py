"""Run the operators in a process of their own: python run_operator.py calls.pt results.pt

The instruction set is chosen once per process (ATEN_CPU_CAPABILITY), so a test that tries each needs a process for
each. ``calls.pt`` holds a list of argument lists: six for the forward, eight for the backward; ``results.pt`` receives
the instruction set in use and the list of results.
"""

import os
import subprocess
import sys
import tempfile

import torch


def in_process_with(capability, calls):
    """Results of ``calls`` under an instruction set (None: the machine's own), and the name of the one in use."""
    environment = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
    if capability is not None:
        environment["ATEN_CPU_CAPABILITY"] = capability
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("calls.pt", "results.pt")]
        torch.save(calls, paths[0])
        subprocess.run([sys.executable, __file__, *paths], env=environment, check=True, timeout=300)
        return torch.load(paths[1])


def run(calls):
    """Results of the calls in this process."""
    import derf  # noqa: F401 - registers the operators

    operators = {6: torch.ops.derf.derf, 8: torch.ops.derf.derf_backward}
    return [operators[len(arguments)](*arguments) for arguments in calls]


if __name__ == "__main__":
    results = run(torch.load(sys.argv[1]))
    torch.save((torch.ops.derf.cpu_capability(), results), sys.argv[2])
