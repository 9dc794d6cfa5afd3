"""What a release took: facts on each torch, kept beside its build, and the table of them that is in CONTRIBUTING.md."""

import json
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COLUMNS = {
    "compiled": "compiled, CPU s",
    "library": "library, MB",
    "packed": "in the wheel, MB",
    "installed": "pip install, s",
    "smoke": "smoke test, s",
    "demo": "demo, s",
}


def facts(folder: Path) -> dict[str, float]:
    file = folder / "facts.json"
    return json.loads(file.read_text()) if file.exists() else {}


def note(folder: Path, **new: float) -> None:
    """Keep facts on the torch whose build lies in a folder."""
    (folder / "facts.json").write_text(json.dumps(facts(folder) | new, indent=2) + "\n")


@contextmanager
def compiling(folder: Path) -> Iterator[None]:
    """Add what the processes started inside take to `compiled`, also where they are interrupted."""
    start = _children()
    try:
        yield
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        note(folder, compiled=facts(folder).get("compiled", 0) + _children() - start)


def note_libraries(folder: Path, wheel: Path) -> None:
    """Keep the bytes of the libraries for a torch, or of kernels, as they are compiled and as they are in the wheel."""
    files = {file.name: file for file in folder.glob("*/libderf_*.so")}
    with zipfile.ZipFile(wheel) as archive:
        packed = sum(entry.compress_size for entry in archive.infolist() if Path(entry.filename).name in files)
    note(folder, library=sum(file.stat().st_size for file in files.values()) / 1e6, packed=packed / 1e6)


def table(folders: dict[str, Path]) -> str:
    """The facts on torches, in Markdown."""
    rows = [["torch", *COLUMNS.values()], ["---"] * (len(COLUMNS) + 1)]
    for version, folder in folders.items():
        known = facts(folder)
        rows.append([version, *(_in_words(known.get(name)) for name in COLUMNS)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _in_words(number: float | None) -> str:
    return "" if number is None else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
