"""`python -m tools.wheels`: compile libraries, pack them into a wheel, try it beside a torch, or all of that."""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import log
from .torches import ARCHITECTURES, TORCHES, cuda_version, environment, fetch, major, newest_torch, nvcc_of_majors, uv

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")


def folder_of(arguments: argparse.Namespace, what: str) -> Path:
    """Where a torch of the matrix and what is compiled for it lie, or kernels."""
    return arguments.work.resolve() / f"{what}-{arguments.architecture}"


def compile_command(arguments: argparse.Namespace) -> list[Path]:
    """Libraries for each torch, and of kernels. What an earlier run has compiled is not compiled again."""
    from .compile import compile_kernels, compile_libraries

    nvccs, kernels, found = nvcc_of_majors(arguments.nvcc), {}, []

    def kernels_for(cuda: str | None) -> Path:  # a major version, or None for those of the CPU
        if cuda not in kernels:
            version = newest_torch(cuda)
            torch = fetch(version, arguments.architecture, folder_of(arguments, version))
            folder = folder_of(arguments, f"kernels-cu{cuda}" if cuda else "kernels-cpu")
            nvcc = nvccs.get(cuda)
            with log.compiling(folder):
                kernels[cuda] = compile_kernels(torch, arguments.architecture, folder / "build", cuda=nvcc, major=cuda)
        return kernels[cuda]

    for version in arguments.torch:
        folder = folder_of(arguments, version)
        torch = fetch(version, arguments.architecture, folder)
        cuda = major(cuda_version(torch))
        linked = [kernels_for(each) for each in ([None, cuda] if cuda in nvccs else [None])]
        with log.compiling(folder):
            new = compile_libraries(torch, arguments.architecture, folder, cuda=nvccs.get(cuda), kernels=linked)
        print(f"torch {version}: {', '.join(file.name for file in new)}", flush=True)
        found += new
    return [*found, *kernels.values()]


def pack_command(arguments: argparse.Namespace) -> Path:
    """A wheel with these libraries, its bill of materials, and the checksums."""
    from .pack import pack
    from .papers import bill_of_materials, checksums

    wheel = pack(arguments.libraries, arguments.out)
    bill_of_materials(wheel)
    checksums(arguments.out)
    print(f"{wheel}: {len(arguments.libraries)} libraries, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    return wheel


def try_wheel(wheel: Path, python: Path, *, demo: bool) -> dict[str, float]:
    """Install the wheel where an interpreter is, run the smoke test there, and return the seconds that each took.

    Raises:
        ValueError: if derf is installed there as editable, which the wheel would replace.
    """
    options = {"check": True, "env": os.environ | {"PYTHONPATH": ""}}  # where pip could find another derf
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    listed = subprocess.run([*pip, "list", "--editable"], **options, text=True, stdout=subprocess.PIPE).stdout
    if re.search(r"^derf ", listed, re.M):
        raise ValueError(f"{python} has an editable derf, which the wheel would replace. Name another environment.")
    subprocess.run([*pip, "uninstall", "-qq", "--yes", "derf"], **options)
    steps = {
        "installed": [*pip, "install", "--quiet", wheel],
        "smoke": [python, "-I", SMOKE],  # isolated: the sources here are not what is tried
    }
    if demo:
        uv("pip", "install", "--quiet", "--python", python, f"{wheel}[demo]")
        figure = python.parent.parent / "derf_demo.png"
        steps["demo"] = [python, "-I", "-m", "derf.demo", "--steps", "50", "--out", figure]
    took = {}
    for name, step in steps.items():
        start = time.perf_counter()
        subprocess.run(step, **options)
        took[name] = time.perf_counter() - start
    print(f"{python}: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in took.items())}", flush=True)
    return took


def try_command(arguments: argparse.Namespace) -> None:
    """The smoke test in each environment. Those made for it are removed when it passes: each takes some 5 GB."""
    wheel = arguments.wheel.resolve()
    for python in arguments.python:
        try_wheel(wheel, python, demo=arguments.demo)
    for version in arguments.torch:
        folder = folder_of(arguments, version)
        made = folder / "environment"
        log.note(folder, **try_wheel(wheel, environment(made, version), demo=arguments.demo))
        shutil.rmtree(made)


def emulate_command(arguments: argparse.Namespace) -> None:
    """The smoke test on an emulated processor."""
    from .emulate import try_emulated

    for version in arguments.torch:
        try_emulated(arguments.wheel.resolve(), version, SMOKE, arguments.work.resolve() / "emulated")


def nvcc12_command(arguments: argparse.Namespace) -> None:
    """An nvcc for the torches with CUDA 12."""
    from .toolkit import assemble

    print(assemble(arguments.out))


def hub_command(arguments: argparse.Namespace) -> None:
    """The wheel's content as Hugging Face's kernels library loads it."""
    from .hub import lay_out

    print(*lay_out(arguments.wheel, arguments.out), sep="\n")


def release_command(arguments: argparse.Namespace) -> None:
    """Everything that is uploaded: the wheel, tried beside each torch, and the sources."""
    arguments.libraries = compile_command(arguments)
    subprocess.run([sys.executable, "-m", "build", "--sdist", "--outdir", arguments.out, ROOT], check=True)
    arguments.wheel, arguments.python = pack_command(arguments), []
    rows = [*arguments.torch, "kernels-cpu", "kernels-cu12", "kernels-cu13"]
    folders = {row: folder for row in rows if (folder := folder_of(arguments, row)).exists()}
    for folder in folders.values():
        log.note_libraries(folder, arguments.wheel)
    if arguments.architecture == platform.machine():
        try_command(arguments)
    print(log.table(folders))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.wheels", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)

    compiling = argparse.ArgumentParser(add_help=False)
    compiling.add_argument("--architecture", choices=ARCHITECTURES, default=platform.machine(), help="(this machine's)")
    compiling.add_argument("--nvcc", nargs="*", default=(), help="for CUDA kernels: one for each major version of CUDA")
    working = argparse.ArgumentParser(add_help=False)
    working.add_argument("--work", type=Path, default=ROOT / "build" / "wheels", help="where torches and builds lie")
    writing = argparse.ArgumentParser(add_help=False)
    writing.add_argument("--out", type=Path, default=ROOT / "dist", help="where the wheel goes (%(default)s)")
    trying = argparse.ArgumentParser(add_help=False)
    trying.add_argument("--demo", action="store_true", help="python -m derf.demo --steps 50 too")

    command = commands.add_parser("compile", parents=[compiling, working], help="libraries for torches")
    command.add_argument("torch", nargs="*", default=list(TORCHES), help="versions (all of the matrix)")
    command = commands.add_parser("pack", parents=[writing], help="a wheel of libraries that are there")
    command.add_argument("libraries", nargs="+", type=Path, metavar="LIBRARY")
    command = commands.add_parser("try", parents=[working, trying], help="install the wheel beside a torch and use it")
    command.set_defaults(architecture=platform.machine())  # the environments are of this machine
    command.add_argument("wheel", type=Path)
    command.add_argument("--torch", nargs="*", default=(), help="versions to make environments for")
    command.add_argument("--python", nargs="*", type=Path, default=(), help="interpreters that have a torch")
    command = commands.add_parser("emulate", parents=[working], help="try a wheel for 64-bit Arm in QEMU")
    command.add_argument("wheel", type=Path)
    command.add_argument("--torch", nargs="+", required=True, help="versions")
    command = commands.add_parser("hub", help="lay a wheel out for Hugging Face's kernels library")
    command.add_argument("wheel", type=Path)
    command.add_argument("out", type=Path, help="the repository, in which build/ is written")
    command = commands.add_parser("nvcc12", help="put nvcc 12.4 together from packages of Debian and PyPI")
    command.add_argument("out", type=Path, help="the folder of the toolkit")
    command = commands.add_parser("release", parents=[compiling, working, writing, trying], help="all of it")
    command.add_argument("torch", nargs="*", default=list(TORCHES), help="versions (all of the matrix)")

    arguments = parser.parse_args()
    run = {
        "compile": compile_command,
        "pack": pack_command,
        "try": try_command,
        "emulate": emulate_command,
        "nvcc12": nvcc12_command,
        "hub": hub_command,
        "release": release_command,
    }
    try:
        run[arguments.command](arguments)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"python -m tools.wheels {arguments.command}: {error}\n")
    except subprocess.CalledProcessError as error:
        parser.exit(1, f"python -m tools.wheels {arguments.command}: failed: {error}\n")


if __name__ == "__main__":
    main()
