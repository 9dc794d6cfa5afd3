"""Fixtures of every test: devices, a fixed seed, thread counts."""

import os
import sys

# The references and samples stand beside the tests; pytest's importlib mode leaves sys.path to us.
sys.path.insert(0, os.path.dirname(__file__))
# A library that changed between two runs must not be served from Inductor's cache on disk.
os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")

import avx512_on_host
import cuda_on_host
import derf
import hypothesis
import neon_emulated
import pytest
import torch

cuda_on_host.install_if_asked()
avx512_on_host.install_if_asked()
neon_emulated.install_if_asked()

hypothesis.settings.register_profile("full", max_examples=150, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("short", parent=hypothesis.settings.get_profile("full"), max_examples=50)
hypothesis.settings.load_profile(os.environ.get("DERF_TEST_PROFILE", "full"))


def _cuda_kernels():
    """Whether a CUDA device is present and this build of the package has kernels. Where it has, they must run: a launch
    that fails here fails the run, which would pass without a test on the device else."""
    if not torch.cuda.is_available() or "\nCUDA kernels: yes" not in derf.show_config():
        return False
    one = torch.ones(1, device="cuda")
    derf.derf(one, one, one)
    torch.cuda.synchronize()
    return True


DEVICES = ["cpu", "cuda"] if _cuda_kernels() else ["cpu"]


def pytest_addoption(parser):
    parser.addoption("--device", choices=["cpu", "cuda"], help="only the tests that take a device, and on this one")
    # A run that is ended before its time loses none.
    parser.addoption("--failures", metavar="FILE", help="append each failure to it when it happens")


def pytest_configure(config):
    path = config.getoption("--failures")
    if path and not hasattr(config, "workerinput"):  # of pytest-xdist: the workers' reports reach the first process
        config.pluginmanager.register(Failures(path))


class Failures:
    def __init__(self, path):
        self.path = path

    def pytest_runtest_logreport(self, report):
        if report.failed:
            with open(self.path, "a") as file:
                file.write(f"== {report.nodeid}, {report.when}\n{report.longreprtext}\n")


def pytest_collection_modifyitems(config, items):
    wanted = config.getoption("--device")
    if not wanted:
        return
    if wanted not in DEVICES:
        raise pytest.UsageError(f"--device {wanted}: there is no such device here, or no kernels for it")
    kept = [item for item in items if _device_of(item) == wanted]
    config.hook.pytest_deselected(items=[item for item in items if _device_of(item) != wanted])
    items[:] = kept


def _device_of(item):
    return item.callspec.params.get("device") if hasattr(item, "callspec") else None


@pytest.fixture(scope="session", params=DEVICES)
def device(request):
    """Every device that the operators run on."""
    return request.param


@pytest.fixture(autouse=True)
def seed():
    """The same random numbers for a test whichever tests run before it."""
    torch.manual_seed(0)


@pytest.fixture
def set_threads():
    """torch.set_num_threads, undone after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def available_memory():
    """Bytes that can be allocated without swapping, or 0 where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 0


@pytest.fixture
def need_memory():
    """Skip the test, visibly, where fewer than the given GiB are free."""

    def need(gibibytes):
        free = available_memory() / 2**30
        if free < gibibytes:
            pytest.skip(f"needs {gibibytes} GiB of free memory, {free:.1f} are free")

    return need
