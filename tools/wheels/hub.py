"""Lays a wheel out as the kernels library of Hugging Face loads it: one folder of the package for each library."""

import json
import re
import zipfile
from pathlib import Path


def lay_out(wheel: Path, out: Path) -> list[Path]:
    """Write `build/<variant>` for each library of a wheel, for ``get_kernel`` and ``get_local_kernel``.

    A variant is named for torch, CUDA, processor and system. One of a major version of CUDA serves its minor versions.
    Those without CUDA are loaded with ``backend="cpu"`` beside a torch with CUDA.
    """
    name, version, *_, platform = wheel.stem.split("-")
    architecture = platform.partition("manylinux_2_28_")[2]
    written = []
    with zipfile.ZipFile(wheel) as archive:
        files = [entry for entry in archive.namelist() if not entry.endswith("/")]
        libraries = [file for file in files if file.endswith(".so")]
        kernels = [file for file in libraries if "libderf_kernels_" in file]
        for library in sorted(set(libraries) - set(kernels)):
            major, minor, cuda = re.search(r"torch(\d+)_(\d+)_(\w+)\.so$", library).groups()
            backend = cuda if cuda == "cpu" else f"{cuda}0"
            folder = out / "build" / f"torch{major}{minor}-cxx11-{backend}-{architecture}-linux"
            its = [library, *(file for file in kernels if file.endswith(("_cpu.so", f"_{cuda}.so")))]
            for file in files:
                if file in its or file not in libraries:
                    target = folder / file.removeprefix("derf/")  # dist-info beside the modules: it has the version
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(file))
            metadata = {
                "id": f"_{name}_{cuda}_{version.replace('.', '_')}",
                "name": name,
                "version": 1,  # of the interface
                "license": "Apache-2.0",
                "python-depends": [],
                "backend": {"type": "cpu" if cuda == "cpu" else "cuda"},
            }
            (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
            written.append(folder)
    return written
