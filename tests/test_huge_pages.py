"""Large results ask Linux for pages of 2 MiB: /proc/self/smaps marks such memory with "hg"."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
pytestmark = pytest.mark.skipif(
    not THP.exists() or not Path("/proc/self/smaps").exists(), reason="this Linux has no transparent huge pages"
)

PROGRAM = """
import re, sys, torch, derf

def marked(tensor):
    middle, inside = tensor.data_ptr() + tensor.nbytes // 2, False
    for line in open("/proc/self/smaps"):
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= middle < int(found[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()

x = torch.zeros(int(sys.argv[1]), 1024, requires_grad=True)
layer = derf.Derf(1024)
y = layer(x)
y.backward(torch.zeros_like(y))
print(marked(y), marked(x.grad))
"""


@pytest.mark.parametrize(
    ("rows", "setting", "expected"),
    [(16384, None, "True True"), (16384, "0", "False False"), (64, None, "False False")],
    ids=["64 MiB", "64 MiB, turned off", "256 KiB"],
)
def test_large_results_ask_for_huge_pages(rows, setting, expected):
    environment = {name: value for name, value in os.environ.items() if name not in ("DERF_HUGE_PAGES",)}
    if setting is not None:
        environment["DERF_HUGE_PAGES"] = setting
    command = [sys.executable, "-c", PROGRAM, str(rows)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == expected
