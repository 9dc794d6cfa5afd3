"""What goes with the wheels of a release: a bill of materials (CycloneDX), and the checksums."""

import hashlib
import re
import zipfile
from pathlib import Path

from cyclonedx.builder.this import this_component
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def bill_of_materials(wheel: Path) -> Path:
    """Write what is in a wheel and what it was compiled with beside it, and return the file.

    A library links to torch's libraries and holds none of them. CUDA kernels hold code of CUB, from the toolkit's
    headers.
    """
    name, version = wheel.name.split("-")[:2]
    bom = Bom()
    bom.metadata.tools.components.add(this_component())
    root = Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", None, name, version),
        licenses=[LicenseExpression("Apache-2.0")],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(wheel))],
    )
    bom.metadata.component = root
    torches, libraries, kernels = {}, [], set()
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(file for file in archive.namelist() if file.endswith(".so")):
            data = archive.read(entry)
            facts = {}
            if found := re.search(rb"compiled for: torch (\S+) \((\w+)\)", data):  # else kernels alone
                torch, tag = (text.decode() for text in found.groups())
                compiler = re.search(rb"compiler: ([^\n\0]+)", data)[1].decode()
                nvcc = re.search(rb"CUDA kernels: yes \(nvcc ([\d.]+)", data)
                kernels |= {nvcc[1].decode()} if nvcc else set()
                facts = {"torch": torch, "tag": tag, "compiler": compiler, "nvcc": nvcc[1].decode() if nvcc else "none"}
                torches[torch] = PackageURL("pypi", None, "torch", torch)
            digest = hashlib.sha256(data).hexdigest()
            libraries.append(
                Component(
                    name=entry,
                    version=version,
                    type=ComponentType.FILE,
                    hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
                    properties=[Property(name=f"derf:{key}", value=value) for key, value in facts.items()],
                )
            )
    needed = [
        Component(name="torch", version=torch, purl=purl, type=ComponentType.FRAMEWORK, scope=ComponentScope.OPTIONAL)
        for torch, purl in torches.items()
    ]
    toolkits = [Component(name="CUDA toolkit (CUB)", version=nvcc, type=ComponentType.LIBRARY) for nvcc in kernels]
    for component in (*libraries, *needed, *toolkits):
        bom.components.add(component)
    bom.register_dependency(root, [*libraries, *needed, *toolkits])
    file = wheel.with_suffix(".cdx.json")
    file.write_text(JsonV1Dot6(bom).output_as_string(indent=2))
    return file


def checksums(folder: Path) -> Path:
    """Write SHA256SUMS for all other files of a folder, for ``sha256sum --check``."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != "SHA256SUMS")
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{sha256(file)}  {file.name}\n" for file in files))
    return sums
