"""What was built, for which torch, and what is in use."""

import platform
from importlib.metadata import version

import torch


def show_config() -> str:
    """Return the facts to send along with a question or a bug report, one `key: value` per line.

    Which torch the library was compiled for and which one runs; the compiler; the instruction sets that were built and
    the one in use (the environment variable ATEN_CPU_CAPABILITY=default|avx2 forces a lesser one); the number of
    threads; and whether there are CUDA kernels, or why not.

    >>> import derf
    >>> print(derf.show_config())  # doctest: +ELLIPSIS
    derf: ...
    compiled for: torch ...
    """
    lines = [
        f"derf: {version('derf')}",
        *torch.ops.derf.build_info().splitlines(),
        f"running: torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{torch.get_num_threads()} threads",
    ]
    return "\n".join(lines)
