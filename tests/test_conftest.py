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


class Config:
    def __init__(self, device):
        self.hook = self
        self.device = device

    def getoption(self, name):
        return self.device

    def pytest_deselected(self, items):
        self.deselected = items


class Item:
    def __init__(self, **params):
        self.callspec = type("CallSpec", (), {"params": params})


def test_one_device_alone(conftest):
    items = [Item(device="cpu"), Item(device="cuda", dtype="cpu"), Item(dtype="cuda"), object()]
    kept, config = list(items), Config("cpu")
    conftest.pytest_collection_modifyitems(config, kept)
    assert kept == items[:1] and config.deselected == items[1:]
    kept = list(items)
    conftest.pytest_collection_modifyitems(Config(None), kept)
    assert kept == items


def test_a_device_that_is_not_there(conftest):
    conftest.DEVICES[:] = ["cpu"]
    with pytest.raises(pytest.UsageError, match="--device cuda: there is no such device"):
        conftest.pytest_collection_modifyitems(Config("cuda"), [])


def test_failures_are_written_at_once(tmp_path, conftest):
    report = type("Report", (), {"failed": True, "nodeid": "test_x.py::test_y", "when": "call", "longreprtext": "why"})
    failures = conftest.Failures(tmp_path / "failures")
    failures.pytest_runtest_logreport(report)
    failures.pytest_runtest_logreport(report)
    assert (tmp_path / "failures").read_text() == 2 * "== test_x.py::test_y, call\nwhy\n"
