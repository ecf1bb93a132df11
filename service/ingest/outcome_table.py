"""Outcomes as an Arrow table, one row a file: how they travel between the machines of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.bundle import EncodedRecording
from models.similarity import Encodings
from service.ingest.hearing import Failed, Heard, Known, Outcome
from service.tags import Tags

PATH_COLUMN = "path"

_ENCODINGS = ("embedding", "mean", "variance")
_SCHEMA = pa.schema(
    [
        (PATH_COLUMN, pa.string()),
        ("cpu_s", pa.float64()),
        ("reason", pa.string()),
        ("sha256", pa.string()),
        ("size_bytes", pa.int64()),
        ("title", pa.string()),
        ("artist", pa.string()),
        ("album", pa.string()),
        ("genres", pa.list_(pa.string())),
        ("duration_s", pa.float64()),
        ("sample_rate_hz", pa.int64()),
        ("channels", pa.int64()),
        ("format", pa.string()),
        ("bpm", pa.float64()),
        ("starts_s", pa.list_(pa.float64())),
        ("ends_s", pa.list_(pa.float64())),
        *((name, pa.large_binary()) for name in _ENCODINGS),
    ]
)


@dataclass(frozen=True, eq=False)
class Settled:
    """What became of one file, and the ``cpu_s`` seconds of a core that it took."""

    path: str
    outcome: Outcome
    cpu_s: float


def to_table(settled: Iterable[Settled]) -> pa.Table:
    """Write outcomes as a table; what an outcome has not is null."""
    rows = [
        {PATH_COLUMN: each.path, "cpu_s": each.cpu_s, **_fields(each.outcome)} for each in settled
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def read_table(table: pa.Table) -> Iterator[tuple[Path, Outcome, float]]:
    """Read what :func:`to_table` wrote: path, outcome and the seconds of a core that it took."""
    for row in table.to_pylist():
        yield Path(row[PATH_COLUMN]), _outcome(row), row["cpu_s"]


def _fields(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failed):
        return {"reason": outcome.reason}
    if isinstance(outcome, Known):
        return {"sha256": outcome.sha256}
    fields = {
        "sha256": outcome.sha256,
        "size_bytes": outcome.size_bytes,
        "title": outcome.tags.title,
        "artist": outcome.tags.artist,
        "album": outcome.tags.album,
        "genres": list(outcome.tags.genres),
        "duration_s": outcome.duration_s,
        "sample_rate_hz": outcome.sample_rate_hz,
        "channels": outcome.channels,
        "format": outcome.format,
        "bpm": outcome.bpm,
    }
    if outcome.encoded is not None:
        fields["starts_s"], fields["ends_s"] = outcome.encoded.starts_s, outcome.encoded.ends_s
        for name in _ENCODINGS:
            array = getattr(outcome.encoded.encodings, name)
            fields[name] = np.ascontiguousarray(array, "<f4").tobytes()
    return fields


def _outcome(row: dict[str, Any]) -> Outcome:
    if row["reason"] is not None:
        return Failed(row["reason"])
    if row["size_bytes"] is None:
        return Known(row["sha256"])
    return Heard(
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        tags=Tags(row["title"], row["artist"], row["album"], tuple(row["genres"])),
        duration_s=row["duration_s"],
        sample_rate_hz=row["sample_rate_hz"],
        channels=row["channels"],
        format=row["format"],
        encoded=None if row["starts_s"] is None else _encoded(row),
        bpm=row["bpm"],
    )


def _encoded(row: dict[str, Any]) -> EncodedRecording:
    windows = len(row["starts_s"])
    parts: list[NDArray[np.float32]] = [
        np.frombuffer(row[name], "<f4").reshape(windows, -1) for name in _ENCODINGS
    ]
    return EncodedRecording(row["starts_s"], row["ends_s"], Encodings(*parts))
