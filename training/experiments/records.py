"""What every run found, one JSON file a run: what is there need not be run again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from training.experiments.rows import Found

_FORMAT = 1
"""Raised whenever the same configuration no longer gives the same figures."""


@dataclass(frozen=True)
class Row:
    """One row's place among the records, and a digest of everything that its figures depend on."""

    schedule: str
    protocol: str
    system: str
    identity: str


class Record(TypedDict):
    """A run as it is written down."""

    system: str
    protocol: str
    schedule: str
    seed: int
    identity: str
    found: Found


class Records:
    """The records of one output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, row: Row, seed: int) -> Found | None:
        """Return what the run found, unless it is not there or of another configuration."""
        path = self._path(row, seed)
        if not path.exists():
            return None
        record: Record = json.loads(path.read_text())
        return record["found"] if record["identity"] == row.identity else None

    def save(self, row: Row, seed: int, found: Found) -> None:
        """Write a run down, whole or not at all."""
        record: Record = {
            "system": row.system,
            "protocol": row.protocol,
            "schedule": row.schedule,
            "seed": seed,
            "identity": row.identity,
            "found": found,
        }
        path = self._path(row, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record) + "\n")
        partial.replace(path)

    def checkpoint(self, row: Row) -> Path:
        """Return where an unfinished training of the row keeps its state."""
        folder = self._folder / "checkpoints" / row.schedule
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{row.protocol}-{row.system}.pt"

    def _path(self, row: Row, seed: int) -> Path:
        return self._folder / "records" / row.schedule / row.protocol / row.system / f"{seed}.json"


def identity_of(*parts: object) -> str:
    """Digest what a row's figures depend on; dataclasses by their fields."""
    return hashlib.sha256(f"{_FORMAT} {parts!r}".encode()).hexdigest()
