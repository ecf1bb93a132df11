"""Snapshots: immutable, checksummed search indexes on disk, and the pointer to the current one.

A snapshot is a folder in ``<home>/snapshots`` with the files of a segment (service.index.building)
and ``manifest.json``; they are mapped into memory, not read. It is written under another name and
renamed once it is complete; then the file ``current``, which names it, is replaced. A reader
therefore finds the old one or the new one and nothing between.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.checksum import file_sha256
from service.errors import StartError
from service.index.building import (
    Examiners,
    Precision,
    WindowStream,
    write_index,
    write_traits,
    write_windows,
)
from service.index.ids import id_array
from service.index.milvus import MilvusStore
from service.index.segment import open_segment
from service.index.shelf import Segment
from service.index.traits import Traits

SNAPSHOT_FORMAT = 4
POINTER = "current"
_ADVICE = "build it again with `circumplex index build`"
_NAME = re.compile(r"[0-9]{8}T[0-9]{12}-[0-9a-f]{12}")
_MANIFEST = "manifest.json"
_CHECKED_AT_START_BYTES = 1 << 30
"""A file as small as this is hashed at the start; of a larger one the size is compared then, and
its content by :func:`damaged_file`, which a running service calls in the background."""


@dataclass(frozen=True, eq=False)
class SnapshotSource:
    """What a snapshot is made from: ``count`` windows that stream by, and their tracks' traits.

    ``change`` is the number of the last change in the database that the stream has in it.
    ``traits`` yields (track id, artist, bpm), ``tags`` (track id, tag).
    """

    bundle_id: str
    change: int
    count: int
    dimensions: int
    windows: WindowStream
    traits: Iterator[tuple[str, str | None, float | None]]
    tags: Iterator[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A loaded snapshot: what it is called, which bundle made it, which windows it holds.

    ``measured`` is what its building found out about it (service.index.building.write_index).
    """

    id: str
    bundle_id: str
    change: int
    folder: Path
    segment: Segment
    measured: dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A snapshot that was written: its id, and how much it holds."""

    id: str
    tracks: int
    windows: int


@contextmanager
def building_alone(folder: Path) -> Iterator[None]:
    """Let one process at a time build; the others wait. The lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_snapshot(
    folder: Path,
    source: SnapshotSource,
    examiners: Examiners,
    precision: Precision,
    store: MilvusStore | None = None,
) -> Written:
    """Write a snapshot, fill ``store`` with it, and point to it.

    The one that was current before is kept, older ones are dropped. To be called within
    :func:`building_alone`.

    Raises:
        StartError: the windows change meanwhile, or ``store`` cannot be filled.
    """
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder))
    try:
        manifest = _write_files(partial, source, examiners, precision)
        digest = _digest(manifest)
        snapshot_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{digest[:12]}"
        text = json.dumps({"id": snapshot_id, **manifest}, indent=1, sort_keys=True)
        (partial / _MANIFEST).write_text(text + "\n")
        for path in partial.iterdir():
            _flush(path)
        _flush(partial)
        partial.chmod(0o755)  # mkdtemp's own is for nobody else
        partial.rename(folder / snapshot_id)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if store is not None:
        segment = open_segment(folder / snapshot_id, manifest["measured"], "cpu")
        store.fill(snapshot_id, segment)
    previous = current_id(folder)
    _point_to(folder, snapshot_id)
    _drop_all_but(folder, {snapshot_id, previous}, store)
    return Written(snapshot_id, manifest["tracks"], manifest["count"])


def current_id(folder: Path) -> str | None:
    """Return the id of the snapshot that the pointer names, None where there is no pointer."""
    try:
        return (folder / POINTER).read_text().strip()
    except FileNotFoundError:
        return None


def load_snapshot(
    folder: Path, bundle_id: str, *, device: str = "cpu", store: MilvusStore | None = None
) -> Snapshot:
    """Load the current snapshot after checking it; ``device`` as the setting ``search_device``.

    With ``store``, its sketches are searched there.

    Raises:
        StartError: there is none, it is damaged, another bundle made it, or ``store`` lacks it.
    """
    snapshot_id = current_id(folder)
    if snapshot_id is None:
        raise StartError(f"there is no search index in {folder}: {_ADVICE}")
    home = folder / snapshot_id
    if not _NAME.fullmatch(snapshot_id) or not home.is_dir():
        raise StartError(f"{folder / POINTER} names no search index: {_ADVICE}")
    manifest = _verified_manifest(home, snapshot_id)
    if manifest["bundle_id"] != bundle_id:
        raise StartError(
            f"the search index was built with the model {manifest['bundle_id'][:12]}, the active "
            f"one is {bundle_id[:12]}: {_ADVICE}"
        )
    segment = open_segment(home, manifest["measured"], device, store)
    return Snapshot(snapshot_id, bundle_id, manifest["change"], home, segment, manifest["measured"])


def damaged_file(snapshot: Snapshot) -> Path | None:
    """Read every byte of a snapshot; returns the first file that is not as it was written."""
    files: dict[str, Any] = json.loads((snapshot.folder / _MANIFEST).read_text())["files"]
    for name, recorded in files.items():
        if not _is_whole(snapshot.folder / name, recorded, every_byte=True):
            return snapshot.folder / name
    return None


def changes_needed(folder: Path) -> int | None:
    """Return the least change that a snapshot on disk was made after, None where there is none.

    The journal must reach back to it.
    """
    numbers = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if _NAME.fullmatch(path.name) and (path / _MANIFEST).is_file():
            numbers.append(int(json.loads((path / _MANIFEST).read_text()).get("change", 0)))
    return min(numbers, default=None)


def _write_files(
    partial: Path, source: SnapshotSource, examiners: Examiners, precision: Precision
) -> dict[str, Any]:
    ids = write_windows(partial, source.windows, source.count, source.dimensions)
    write_traits(partial, Traits.of(id_array(ids), source.traits, source.tags))
    measured = write_index(partial, examiners, precision)
    return {
        "format": SNAPSHOT_FORMAT,
        "bundle_id": source.bundle_id,
        "change": source.change,
        "count": source.count,
        "tracks": len(ids),
        "measured": measured,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(partial.iterdir())
        },
    }


def _verified_manifest(home: Path, snapshot_id: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads((home / _MANIFEST).read_text())
        written_id, files = fields.pop("id"), dict(fields["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartError(f"{home / _MANIFEST} is missing or damaged: {_ADVICE}") from error
    digest = _digest(fields)
    if written_id != snapshot_id or not snapshot_id.endswith(digest[:12]):
        raise StartError(f"{home / _MANIFEST} does not match its own checksum: {_ADVICE}")
    if fields["format"] != SNAPSHOT_FORMAT:
        raise StartError(f"{home} was made by another version of Circumplex: {_ADVICE}")
    for name, recorded in files.items():
        small = recorded["bytes"] <= _CHECKED_AT_START_BYTES
        if not _is_whole(home / name, recorded, every_byte=small):
            raise StartError(f"{home / name} is missing or does not match its checksum: {_ADVICE}")
    return fields


def _is_whole(path: Path, recorded: dict[str, Any], *, every_byte: bool) -> bool:
    if not path.is_file() or path.stat().st_size != recorded["bytes"]:
        return False
    return not every_byte or file_sha256(path) == recorded["sha256"]


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _point_to(folder: Path, snapshot_id: str) -> None:
    replacement = folder / f"{POINTER}.new"
    replacement.write_text(snapshot_id + "\n")
    _flush(replacement)
    replacement.replace(folder / POINTER)
    _flush(folder)


def _drop_all_but(folder: Path, kept: set[str | None], store: MilvusStore | None) -> None:
    """Remove other snapshots, and what a killed writer left; a reader keeps what it has mapped."""
    for path in folder.iterdir():
        stale = _NAME.fullmatch(path.name) or path.name.startswith("partial-")
        if path.is_dir() and stale and path.name not in kept:
            if store is not None and _NAME.fullmatch(path.name):
                store.drop([path.name])
            shutil.rmtree(path, ignore_errors=True)


def _flush(path: Path) -> None:
    """Bring a file or a folder's entries to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
