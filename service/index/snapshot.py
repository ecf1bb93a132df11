"""Snapshots: immutable, checksummed search indexes on disk, and the pointer to the current one.

A snapshot is a folder in ``<home>/snapshots``: the FAISS index, the encodings as float32 ``.npy``
(mapped into memory, not read), the table of windows, the track ids, and ``manifest.json``. It is
written under another name and renamed once it is complete; then the file ``current``, which names
it, is replaced. A reader therefore finds the old one or the new one and nothing between.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checksum import file_sha256
from models.similarity import Encodings
from service.errors import StartError
from service.index.flat import FlatIndex
from service.index.shelf import Shelf
from service.tables import WindowKey

SNAPSHOT_FORMAT = 1
POINTER = "current"
_ADVICE = "build it again with `circumplex index build`"
_NAME = re.compile(r"[0-9]{8}T[0-9]{12}-[0-9a-f]{12}")
_WINDOW_TYPE = np.dtype([("track", "<i4"), ("start_s", "<f8"), ("end_s", "<f8")])
_INDEX, _WINDOWS, _TRACKS, _MANIFEST = "index.faiss", "windows.npy", "tracks.json", "manifest.json"
_ENCODINGS = ("embedding", "mean", "variance")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A loaded snapshot: what it is called, which bundle made it, which windows it holds."""

    id: str
    bundle_id: str
    windows_sha256: str
    shelf: Shelf


def windows_fingerprint(keys: Sequence[WindowKey]) -> str:
    """Return a hash of which windows there are; ``keys`` are sorted."""
    digest = hashlib.sha256()
    for track_id, position, start_s, end_s in keys:
        digest.update(f"{track_id}\t{position}\t{start_s!r}\t{end_s!r}\n".encode())
    return digest.hexdigest()


def write_snapshot(
    folder: Path, bundle_id: str, keys: Sequence[WindowKey], encodings: Encodings
) -> str:
    """Write a snapshot of windows (sorted ``keys``, one encoding each) and point to it.

    Returns its id. The one that was current before is kept, older ones are dropped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder))
        try:
            manifest = _write_files(partial, bundle_id, keys, encodings)
            digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
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
        previous = current_id(folder)
        _point_to(folder, snapshot_id)
        _drop_all_but(folder, {snapshot_id, previous})
    return snapshot_id


def current_id(folder: Path) -> str | None:
    """Return the id of the snapshot that the pointer names, None where there is no pointer."""
    try:
        return (folder / POINTER).read_text().strip()
    except FileNotFoundError:
        return None


def load_snapshot(folder: Path, bundle_id: str) -> Snapshot:
    """Load the current snapshot after checking every byte of it.

    Raises:
        StartError: there is none, it is damaged, or another bundle made it.
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
    arrays = {name: np.load(home / f"{name}.npy", mmap_mode="r") for name in _ENCODINGS}
    table = np.load(home / _WINDOWS)
    shelf = Shelf(
        FlatIndex.load(home / _INDEX, np.array(manifest["shift"])),
        Encodings(**arrays),
        table["track"],
        json.loads((home / _TRACKS).read_text()),
        table["start_s"],
        table["end_s"],
    )
    return Snapshot(snapshot_id, bundle_id, manifest["windows_sha256"], shelf)


def _write_files(
    partial: Path, bundle_id: str, keys: Sequence[WindowKey], encodings: Encodings
) -> dict[str, Any]:
    track_ids = sorted({track_id for track_id, *_ in keys})
    numbers = {track_id: number for number, track_id in enumerate(track_ids)}
    table = np.array([(numbers[key[0]], key[2], key[3]) for key in keys], _WINDOW_TYPE)
    shift: NDArray[np.float64] = (
        encodings.mean.mean(axis=0, dtype=np.float64)
        if len(encodings)
        else np.zeros(encodings.dimensions)
    )
    FlatIndex.build(encodings, shift).save(partial / _INDEX)
    for name in _ENCODINGS:
        np.save(partial / f"{name}.npy", np.asarray(getattr(encodings, name), "<f4"))
    np.save(partial / _WINDOWS, table)
    (partial / _TRACKS).write_text(json.dumps(track_ids) + "\n")
    return {
        "format": SNAPSHOT_FORMAT,
        "code_format": FlatIndex.code_format,
        "bundle_id": bundle_id,
        "count": len(keys),
        "tracks": len(track_ids),
        "shift": shift.tolist(),
        "windows_sha256": windows_fingerprint(keys),
        "files": {path.name: file_sha256(path) for path in sorted(partial.iterdir())},
    }


def _verified_manifest(home: Path, snapshot_id: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads((home / _MANIFEST).read_text())
        written_id, files = fields.pop("id"), dict(fields["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartError(f"{home / _MANIFEST} is missing or damaged: {_ADVICE}") from error
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    if written_id != snapshot_id or not snapshot_id.endswith(digest[:12]):
        raise StartError(f"{home / _MANIFEST} does not match its own checksum: {_ADVICE}")
    if (fields["format"], fields["code_format"]) != (SNAPSHOT_FORMAT, FlatIndex.code_format):
        raise StartError(f"{home} was made by another version of Circumplex: {_ADVICE}")
    for name, sha256 in files.items():
        path = home / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise StartError(f"{path} is missing or does not match its checksum: {_ADVICE}")
    return fields


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write snapshots; the lock ends with the process."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _point_to(folder: Path, snapshot_id: str) -> None:
    replacement = folder / f"{POINTER}.new"
    replacement.write_text(snapshot_id + "\n")
    _flush(replacement)
    replacement.replace(folder / POINTER)
    _flush(folder)


def _drop_all_but(folder: Path, kept: set[str | None]) -> None:
    """Remove other snapshots, and what a killed writer left; a reader keeps what it has mapped."""
    for path in folder.iterdir():
        stale = _NAME.fullmatch(path.name) or path.name.startswith("partial-")
        if path.is_dir() and stale and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _flush(path: Path) -> None:
    """Bring a file or a folder's entries to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
