"""What goes wrong around the operators: no memory, threads that start and end at a bad moment, other interpreters."""

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import derf


def run(program, **environment):
    """The output of a Python program in a process of its own, which must end well and say nothing of errors."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, (process.returncode, process.stdout[-2000:], process.stderr[-4000:])
    return process.stdout, process.stderr


# The address space ends 64 MiB above what is in use: a result of 256 MiB cannot be had, one of 1 MiB can.
NO_MEMORY = """
    import resource, torch, derf

    def field(name):
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    layer = derf.Derf(1024)
    small, out = torch.randn(256, 1024), torch.full((65536, 1024), 7.0)
    expected = layer(small)
    expanded, transposed = small[:1].expand(65536, 1024), torch.empty(1024, 65536).fill_(0.5).T
    grad, sparse = small[:1].expand(65536, 1024), transposed[::2]
    calls = {
        "a fresh output": lambda: layer(transposed),
        "a copy of the input": lambda: derf.derf(expanded, layer.alpha, layer.shift, out=out),
        "a gradient": lambda: torch.ops.derf.derf_backward(
            grad, transposed, layer.alpha, layer.shift, layer.weight, layer.bias, -1, [True] * 5),
        "a sum": lambda: derf.functional.add_pointwise_norm(transposed, transposed, layer.alpha),
        "8 bits": lambda: derf.functional.quantized_pointwise_norm(
            expanded, torch.ones(1), layer.alpha, dtype=torch.int8),
    }
    for p in layer.parameters():
        p.requires_grad_(False)
    limit = field("VmSize") + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resident = None
    for i in range(30):
        for name, call in calls.items():
            try:
                call()
            except (RuntimeError, MemoryError) as error:
                assert "memory" in str(error), error
            else:
                raise AssertionError(f"there was memory for {name}")
        assert torch.equal(layer(small), expected)
        resident = resident or field("VmRSS")
    assert field("VmRSS") < 1.01 * resident, (resident, field("VmRSS"))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert bool((out == 7).all())  # nothing is half written
    print("done")
"""


def test_no_memory_is_an_error_and_leaves_nothing(need_memory):
    need_memory(2)
    assert run(NO_MEMORY)[0] == "done\n"


THREADS = """
    import threading

    results, ready = [], threading.Barrier(8)

    def work(i):
        ready.wait()
        import torch, derf  # in several threads at once, none of them the main one
        with torch.set_grad_enabled(i % 2 == 0):
            layer = derf.Derf(64)
            x = torch.linspace(-2, 2, 256).view(4, 64).requires_grad_()
            for _ in range(20):
                y = layer(x)
                if i % 2 == 0:
                    y.sum().backward()
            results.append((y.detach(), y.requires_grad == (i % 2 == 0)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    import torch, derf
    expected = torch.erf(torch.linspace(-2, 2, 256).view(4, 64) * 0.5)
    assert len(results) == 8 and all(right for _, right in results)
    assert all(torch.allclose(y, expected, atol=1e-6) for y, _ in results)

    def long_work():  # still running when the main thread is done. (Daemon threads abort PyTorch itself there.)
        layer, x = derf.Derf(64), torch.randn(4, 64, requires_grad=True)
        for _ in range(500):
            layer(x).sum().backward()

    for _ in range(4):
        threading.Thread(target=long_work).start()
    print("done")
"""


def test_threads_that_import_and_threads_at_the_end():
    assert run(THREADS)[0] == "done\n"


# (A second interpreter in the process is not tried: PyTorch 2.15 crashes there itself.)
AIDS = """
    import torch, derf

    torch.use_deterministic_algorithms(True)  # which fills fresh memory with NaN, too
    x = torch.randn(3, 70, requires_grad=True)
    for layer in (derf.Derf(70), derf.PointwiseNorm(70, "isru", per_channel=True), derf.AddDerf(70)):
        def call(x):
            return layer(x, x)[0] if isinstance(layer, derf.AddDerf) else layer(x)
        y = call(x)
        gradients = torch.autograd.grad(y.sum(), [x, *layer.parameters()])
        assert all(g.isfinite().all() for g in (y, *gradients))
        assert all(map(torch.equal, gradients, torch.autograd.grad(call(x).sum(), [x, *layer.parameters()])))
    print("done")
"""


def test_debugging_aids():
    output, _ = run(AIDS, PYTHONMALLOC="debug", TORCH_SHOW_DISPATCH_TRACE="1", PYTHONDEVMODE="1")
    assert output.endswith("done\n")


def test_import_runs_nothing_but_loading():
    """No file is written, no process started, no address opened, and no compiler or downloader imported."""
    output, _ = run(
        """
        import sys, torch
        seen = []
        def hook(event, arguments):
            if event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove",
                         "os.rename", "os.mkdir", "socket.connect", "socket.getaddrinfo", "urllib.Request"):
                seen.append((event, arguments))
            if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
                seen.append((event, arguments))
        sys.addaudithook(hook)
        sys.dont_write_bytecode = True
        import derf
        assert not seen, seen
        new = [name for name in ("transformers", "timm", "diffusers", "onnx", "torch.distributed.tensor", "matplotlib")
               if name in sys.modules]
        assert not new, new
        print("done")
        """
    )
    assert output == "done\n"


def test_files_are_loaded_by_weights_only():
    """No torch.load of the package, nor of what comes with it, unpickles more than tensors."""
    root = Path(__file__).resolve().parents[1]
    folders = [Path(derf.__file__).parent, root / "benchmarks", root / "examples"]
    loads = []
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads"):
                loads.append((path.name, {k.arg: ast.unparse(k.value) for k in node.keywords}))
    assert loads and all(options.get("weights_only") == "True" for _, options in loads), loads
