"""What was built, for which torch, and what is in use."""

import platform

import torch

from ._library import distribution, library


def show_config() -> str:
    """Return the facts to send along with a question or a bug report, one `key: value` per line.

    The file of the library in use; which torch it was compiled for and which one runs; the compiler; the instruction
    sets that were built and the one in use (the environment variable ATEN_CPU_CAPABILITY=default|avx2 forces a lesser
    one); the number of threads; and whether there are CUDA kernels, or why not.

    >>> import derf
    >>> print(derf.show_config())  # doctest: +ELLIPSIS
    derf: ...
    library: ...
    compiled for: torch ...
    """
    lines = [
        f"derf: {distribution().version}",
        f"library: {library()}",
        *torch.ops.derf.build_info().splitlines(),
        f"running: torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{torch.get_num_threads()} threads",
    ]
    return "\n".join(lines)
