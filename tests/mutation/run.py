"""Break the library in many ways, one at a time, and see that the tests notice: python tests/mutation/run.py

All mutants are compiled at once, each behind a switch that the environment variable DERF_MUTANT sets, in a copy of the
sources with the default kernels alone; then each gets a run of the tests that are to notice it. ``--only WORDS`` runs
the mutants whose description has these words; ``--sources`` is where copy and build are kept for the next time.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hypothesis  # noqa: F401 - what tests import, once for all processes
import mpmath  # noqa: F401
import pytest
import torch
from mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
SWITCH = """#pragma once
#ifdef __cplusplus
#include <cstdlib>
inline const int derf_mutant = std::getenv("DERF_MUTANT") ? std::atoi(std::getenv("DERF_MUTANT")) : 0;
#endif
"""


def copy_sources(to):
    """The sources with every mutant in them. What is as it was is not written, so that it is not compiled again."""
    texts = {}
    for number, mutant in enumerate(MUTANTS, 1):
        text = texts.get(mutant.file) or (ROOT / mutant.file).read_text()
        found = text.count(mutant.original)
        if found != 1:
            raise SystemExit(f"{mutant.file} has {found} times what mutant {mutant.what!r} changes: {mutant.original}")
        if "DERF_THIS" in mutant.mutated:  # it has the switch itself
            new = mutant.mutated.replace("DERF_THIS", str(number))
        elif mutant.original.endswith(";"):
            new = f"if (::derf_mutant == {number}) {{ {mutant.mutated} }} else {{ {mutant.original} }}"
        else:
            new = f"(::derf_mutant == {number} ? ({mutant.mutated}) : ({mutant.original}))"
        texts[mutant.file] = text.replace(mutant.original, new)
    sources = [path for folder in ("csrc", "cmake") for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in [*sources, ROOT / "CMakeLists.txt", ROOT / "pyproject.toml"]:
        name = path.relative_to(ROOT)
        text = texts.get(str(name)) or path.read_text()
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if not (to / name).exists() or (to / name).read_text() != text:
            (to / name).write_text(text)
    if not (to / "switch.h").exists():
        (to / "switch.h").write_text(SWITCH)


def build(sources):
    """A package derf with that library in it; its folder."""
    cmake, ninja = (shutil.which(name) or sys.exit(f"needs {name}") for name in ("cmake", "ninja"))
    package = sources / "python" / "derf"
    shutil.copytree(ROOT / "python" / "derf", package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.so"))
    settings = {
        "TORCH_DIR": Path(torch.__file__).parent,
        "DERF_PYTHON": "ON",
        "DERF_CUDA": "OFF",
        "DERF_DEFAULT_KERNELS_ALONE": "ON",
        "CMAKE_CXX_FLAGS": f"-include {sources / 'switch.h'}",
        "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",
        "CMAKE_MAKE_PROGRAM": ninja,
        "Python_EXECUTABLE": sys.executable,
    }
    options = [f"-D{name}={value}" for name, value in settings.items()]
    subprocess.check_call([cmake, "-S", sources, "-B", sources / "build", "-G", "Ninja", *options])
    subprocess.check_call([cmake, "--build", sources / "build", "--parallel", os.environ.get("MAX_JOBS", "2")])
    subprocess.check_call([cmake, "--install", sources / "build", "--prefix", package])
    return package.parent


def tests_notice(number, tests, package, folder):
    """Whether the tests fail, and which one. In a process that has torch and pytest from this one, and loads derf."""
    log = folder / "pytest.log"
    process = os.fork()
    if process == 0:
        with open(log, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        # Tests start processes too: those are to load this derf.
        os.environ |= {"DERF_MUTANT": str(number), "DERF_TEST_PROFILE": "short", "PYTHONPATH": str(package)}
        sys.path.insert(0, str(package))
        os.chdir(ROOT / "tests")
        signal.alarm(900)
        os._exit(pytest.main(["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", *tests.split()]))
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    output = log.read_text()
    if status > 1:  # no test at all is no test passed
        raise SystemExit(f"pytest ended with {status} for mutant {number}: {output[-4000:]}")
    failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    where = failed[0].split()[1] if failed else f"signal {-status}"
    return status != 0, where.partition("[")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="mutants whose description has these words")
    parser.add_argument("--first", type=int, default=1, help="the number of the first mutant to run")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests without a mutant first")
    parser.add_argument("--sources", type=Path, help="where the copy and its build are kept")
    arguments = parser.parse_args()
    sources = arguments.sources or Path(tempfile.mkdtemp())
    sources.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    torch.set_num_threads(1)  # before a fork
    copy_sources(sources)
    package = build(sources)
    chosen = [
        (i, mutant) for i, mutant in enumerate(MUTANTS, 1) if i >= arguments.first and arguments.only in mutant.what
    ]
    if not arguments.no_baseline:
        every = " ".join(sorted({test for _, mutant in chosen for test in mutant.tests.split()}))
        failed, where = tests_notice(0, every, package, sources)
        if failed:
            raise SystemExit(f"the tests fail without a mutant: {where}")
    survivors = 0
    for number, mutant in chosen:
        noticed, where = tests_notice(number, mutant.tests, package, sources)
        survivors += not noticed
        print(f"| {mutant.what} | `{mutant.file}` | {f'`{where}`' if noticed else '**survives**'} |", flush=True)
    print(f"{len(chosen)} mutants, {survivors} survive, {time.monotonic() - begin:.0f} s")
    return survivors != 0


if __name__ == "__main__":
    sys.exit(main())
