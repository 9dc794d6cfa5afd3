"""Which devices the tests run on: a build without kernels leaves CUDA out, kernels that do not run fail the run."""

import importlib.util
from pathlib import Path

import derf
import pytest
import torch


@pytest.fixture
def conftest(monkeypatch):
    """conftest.py as a module, on a machine that seems to have a CUDA device."""
    spec = importlib.util.spec_from_file_location("conftest_again", Path(__file__).with_name("conftest.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch, "ones", lambda *sizes, device: ones(*sizes))
    return module


def config(kernels):
    return lambda: f"compiler: GNU\nCUDA kernels: {kernels}\nrunning: torch"


def fail(*_):
    raise RuntimeError("derf: CUDA error: no kernel image is available for execution on the device")


def test_a_build_without_kernels_leaves_cuda_out(conftest, monkeypatch):
    monkeypatch.setattr(derf, "show_config", config("no (DERF_CUDA turned them off)"))
    monkeypatch.setattr(derf, "derf", fail)
    assert not conftest._cuda_kernels()


def test_kernels_that_run_are_tested(conftest, monkeypatch):
    monkeypatch.setattr(derf, "show_config", config("yes (nvcc 13.0: sm_90)"))
    assert conftest._cuda_kernels()


def test_a_launch_that_fails_fails_the_run(conftest, monkeypatch):
    monkeypatch.setattr(derf, "show_config", config("yes (nvcc 13.0: sm_90)"))
    monkeypatch.setattr(derf, "derf", fail)
    with pytest.raises(RuntimeError, match="no kernel image"):
        conftest._cuda_kernels()
