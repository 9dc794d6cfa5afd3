"""One training and what is kept of it: JSON lines, one file for each system."""

import json
import os
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Refused(Exception):
    """What a user can mend: said without a traceback."""


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        system, norm: names.
        lr, seed: the learning rate at its highest; of weights and batches.
        part: "grid" for the search of learning rates, "comparison", or the name of a study.
        options: alpha, shift, per_channel, function and the study options of derf.replace_norm; optimizer, precision,
            width, depth.
    """

    system: str
    norm: str
    lr: float
    seed: int
    part: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """Where it is measured: what is chosen by one split is compared on another."""
        return "test" if self.part == "comparison" else "validation"

    @cached_property
    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def key_of(row: Row) -> str:
    return json.dumps(row["run"], sort_keys=True)


class Results:
    """The rows of one system. A file of other settings is refused; a line that a kill cut off is removed."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.rows = read(path, mend=True)
        for row in self.rows:
            for name in sorted(row["settings"].keys() | settings.keys()):
                there, here = row["settings"].get(name), settings.get(name)
                if there != here:
                    raise Refused(
                        f"{path} has results of other settings: {name} is {there!r} there and {here!r} now. "
                        "Choose another --out, or move that file away."
                    )
        self.done = {key_of(row) for row in self.rows}

    def add(self, row: Row, write: bool = True) -> None:
        """Note a row; in the file, it is written whole or not at all."""
        if write:
            self._write(json.dumps(row) + "\n")
        self.rows.append(row)
        self.done.add(key_of(row))

    def _write(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self.path, size)
            raise Refused(
                f"{self.path} could not be written: {error}. What it had is kept; call again to go on."
            ) from error


def read(path: Path, mend: bool = False) -> list[Row]:
    """The rows of a file, or none; without a last line that has no end."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if mend and len(whole) < len(text):
        os.truncate(path, len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise Refused(f"{path} is no file of results: {error}") from error
