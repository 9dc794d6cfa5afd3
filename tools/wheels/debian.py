"""Debian's packages, unpacked into a folder: nothing is installed. Needs Debian's apt."""

import os
import subprocess
from pathlib import Path

SUITE = "trixie"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def unpack(packages: list[str], folder: Path, system: Path, *, architecture: str, dependencies: bool) -> None:
    """Download packages, with or without what they depend on, and unpack them.

    Args:
        packages: names, of the components main and non-free.
        folder: where apt's lists and the packages may lie.
        system: what the packages are unpacked into.
        architecture: Debian's name of it.
        dependencies: whether to take what they depend on, too.
    """
    folder = folder.resolve()  # apt runs elsewhere
    archives = folder / "archives"
    for part in (folder / "lists" / "partial", archives / "partial"):
        part.mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    mirror = subprocess.run(targets, check=True, text=True, stdout=subprocess.PIPE).stdout.split()[0]
    (folder / "sources.list").write_text(f"deb [signed-by={KEYS}] {mirror} {SUITE} main non-free\n")
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
    }
    (folder / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    options = {"check": True, "cwd": archives, "env": {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}}
    subprocess.run(["apt-get", "update", "-q"], **options)
    get = ["install", "--yes", "--download-only"] if dependencies else ["download"]
    subprocess.run(["apt-get", "-q", *get, *packages], **options)
    for file in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", file, system], check=True)
