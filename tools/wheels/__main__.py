"""`python -m tools.wheels`: compile libraries, pack them into a wheel, try it beside a torch, or all of that."""

import argparse
import platform
import subprocess
import sys
import time
from pathlib import Path

from .torches import ARCHITECTURES, TORCHES, cuda_version, environment, fetch, same_major

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")


def compile_command(arguments: argparse.Namespace) -> list[Path]:
    """Libraries for each torch, with what it took."""
    from .compile import compile_libraries

    found = []
    for version in arguments.torch:
        start = time.perf_counter()
        folder = arguments.work.resolve() / f"{version}-{arguments.architecture}"
        torch = fetch(version, arguments.architecture, folder)
        fetched = time.perf_counter()
        nvcc = next((nvcc for nvcc in arguments.nvcc if same_major(nvcc, cuda_version(torch))), None)
        new = compile_libraries(torch, arguments.architecture, folder, cuda=nvcc)
        seconds = time.perf_counter()
        sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in new)
        took = f"fetched in {fetched - start:.0f} s, compiled in {seconds - fetched:.0f} s"
        print(f"torch {version}: {took}: {sizes}", flush=True)
        found += new
    return found


def pack_command(arguments: argparse.Namespace) -> Path:
    """A wheel with these libraries, its bill of materials, and the checksums."""
    from .pack import pack
    from .papers import bill_of_materials, checksums

    wheel = pack(arguments.libraries, arguments.out)
    bill_of_materials(wheel)
    checksums(arguments.out)
    print(f"{wheel}: {len(arguments.libraries)} libraries, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    return wheel


def try_wheel(wheel: Path, python: Path, *, demo: bool) -> None:
    """Install the wheel where an interpreter is, and run the smoke test there."""
    pip = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    start = time.perf_counter()
    subprocess.run([*pip, "--no-deps", "--reinstall-package", "derf", wheel], check=True)
    print(f"{python}: installed in {time.perf_counter() - start:.1f} s", flush=True)
    subprocess.run([python, "-I", SMOKE], check=True)  # isolated: the sources here are not what is tried
    if demo:
        subprocess.run([*pip, f"{wheel}[demo]"], check=True)
        figure = python.parent.parent / "derf_demo.png"
        subprocess.run([python, "-I", "-m", "derf.demo", "--steps", "50", "--out", figure], check=True)


def try_command(arguments: argparse.Namespace) -> None:
    """The smoke test in each environment."""
    pythons = [*arguments.python]
    for version in arguments.torch:
        pythons.append(environment(arguments.work.resolve() / f"try-{version}", version))
    for python in pythons:
        try_wheel(arguments.wheel.resolve(), python, demo=arguments.demo)


def hub_command(arguments: argparse.Namespace) -> None:
    """The wheel's content as Hugging Face's kernels library loads it."""
    from .hub import lay_out

    print(*lay_out(arguments.wheel, arguments.out), sep="\n")


def release_command(arguments: argparse.Namespace) -> None:
    """Everything that is uploaded: the wheel, tried beside each torch, and the sources."""
    arguments.libraries = compile_command(arguments)
    subprocess.run([sys.executable, "-m", "build", "--sdist", "--outdir", arguments.out, ROOT], check=True)
    arguments.wheel, arguments.python = pack_command(arguments), []
    if arguments.architecture == platform.machine():
        try_command(arguments)


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
    command.add_argument("torch", nargs="*", default=TORCHES, help="versions (all of the matrix)")
    command = commands.add_parser("pack", parents=[writing], help="a wheel of libraries that are there")
    command.add_argument("libraries", nargs="+", type=Path, metavar="LIBRARY")
    command = commands.add_parser("try", parents=[working, trying], help="install the wheel beside a torch and use it")
    command.add_argument("wheel", type=Path)
    command.add_argument("--torch", nargs="*", default=(), help="versions to make environments for")
    command.add_argument("--python", nargs="*", type=Path, default=(), help="interpreters that have a torch")
    command = commands.add_parser("hub", help="lay a wheel out for Hugging Face's kernels library")
    command.add_argument("wheel", type=Path)
    command.add_argument("out", type=Path, help="the repository, in which build/ is written")
    command = commands.add_parser("release", parents=[compiling, working, writing, trying], help="all of it")
    command.add_argument("torch", nargs="*", default=TORCHES, help="versions (all of the matrix)")

    arguments = parser.parse_args()
    run = {
        "compile": compile_command,
        "pack": pack_command,
        "try": try_command,
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
