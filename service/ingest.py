"""Recordings on disk → windows → encodings → database, resumable at any point.

Files are heard in parallel threads (FFmpeg, soxr, numpy and torch leave the interpreter alone), a
bounded number ahead of the one writer, which commits each track with its windows at once. A file is
known by the SHA-256 of its content, so a second run does only what the first did not.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models.audio import AUDIO_SUFFIXES, AudioError, Recording, decode
from models.bundle import Bundle, EncodedRecording
from models.progress import Progress
from service import repository
from service.database import Database
from service.repository import KnownTrack
from service.tables import TrackRow, WindowRow
from service.tags import Tags, read_tags

_AHEAD_PER_WORKER = 2
_TRACK_ID_LENGTH = 32

logger = logging.getLogger(__name__)


@dataclass
class IngestReport:
    """What an ingest did: tracks ``added`` and ``skipped``, files ``failed`` with their reasons.

    ``windows`` counts those that were encoded.
    """

    added: int = 0
    skipped: int = 0
    windows: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Known:
    sha256: str


@dataclass(frozen=True, eq=False)
class _Heard:
    sha256: str
    size_bytes: int
    tags: Tags
    recording: Recording
    encoded: EncodedRecording


@dataclass(frozen=True)
class _Failed:
    reason: str


_Outcome = _Known | _Heard | _Failed


def ingest_files(
    paths: Sequence[Path], database: Database, bundle: Bundle, *, max_audio_s: float
) -> IngestReport:
    """Take every recording under ``paths`` into the catalogue, encoded by ``bundle``.

    Folders are walked in sorted order for files with an audio suffix, hidden ones left out. A file
    that cannot be used is listed in the report and does not stop the others.
    """
    report = IngestReport()
    files = list(_audio_files(paths, report))
    with database.reading() as session:
        known = repository.known_tracks(session, bundle.id)
    encoded = frozenset(sha256 for sha256, track in known.items() if track.encoded)
    writer = _Writer(database, bundle.id, known, report)
    workers = os.cpu_count() or 1
    with (
        Progress("Ingesting", len(files), "files") as progress,
        ThreadPoolExecutor(workers, thread_name_prefix="ingest") as pool,
    ):
        under_way: deque[tuple[Path, Future[_Outcome]]] = deque()

        def write_next() -> None:
            path, future = under_way.popleft()
            writer.write(path, future.result())
            progress.note(path.name)
            progress.advance()

        try:
            for path in files:
                under_way.append((path, pool.submit(_hear, path, bundle, encoded, max_audio_s)))
                if len(under_way) >= _AHEAD_PER_WORKER * workers:
                    write_next()
            while under_way:
                write_next()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return report


def _audio_files(paths: Sequence[Path], report: IngestReport) -> Iterator[Path]:
    seen: set[Path] = set()
    for given in paths:
        root = given.expanduser().resolve()
        if not root.exists():
            report.failed.append((given, "there is no such file or folder"))
            continue
        for path in [root] if root.is_file() else _walk(root, report):
            if path not in seen:
                seen.add(path)
                yield path


def _walk(root: Path, report: IngestReport) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        report.failed.append((Path(error.filename), error.strerror or "cannot be read"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and not name.startswith("."):
                yield path


def _hear(path: Path, bundle: Bundle, encoded: frozenset[str], max_audio_s: float) -> _Outcome:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return _Failed("the file's name is not valid Unicode: rename it")
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 in encoded:
                return _Known(sha256)
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            recording = decode(file, rate_hz=bundle.hearing_rate_hz, max_duration_s=max_audio_s)
    except AudioError as error:
        return _Failed(str(error))
    except OSError as error:
        return _Failed(error.strerror or str(error))
    except Exception as error:  # one strange file must not end a run over thousands
        logger.exception("decoding %s failed in an unforeseen way", path)
        return _Failed(f"decoding failed: {error!r}")
    return _Heard(
        sha256, size_bytes, read_tags(path), recording, bundle.encode_recording(recording)
    )


class _Writer:
    """The only one that writes: a transaction a track."""

    def __init__(
        self,
        database: Database,
        bundle_id: str,
        known: dict[str, KnownTrack],
        report: IngestReport,
    ) -> None:
        self._database = database
        self._bundle_id = bundle_id
        self._known = known
        self._report = report
        self._seen: set[str] = set()

    def write(self, path: Path, outcome: _Outcome) -> None:
        """Write what became of one file."""
        if isinstance(outcome, _Failed):
            self._report.failed.append((path, outcome.reason))
        elif outcome.sha256 in self._seen:  # a copy of a file of this run
            self._report.skipped += 1
        else:
            self._seen.add(outcome.sha256)
            if isinstance(outcome, _Known):
                self._skip(path, self._known[outcome.sha256])
            else:
                self._add(path, outcome)

    def _skip(self, path: Path, track: KnownTrack) -> None:
        if track.path != str(path):
            with self._database.writing() as session:
                repository.move_track(session, track.id, str(path))
        self._report.skipped += 1

    def _add(self, path: Path, heard: _Heard) -> None:
        with self._database.writing() as session:
            # Asked again inside the transaction: another process may have been faster.
            track = repository.track_of_content(session, heard.sha256)
            if track is None:
                track = _track_row(path, heard)
                session.add(track)
            else:
                track.path = str(path)
            if repository.windows_of_track(session, track.id, self._bundle_id):
                self._report.skipped += 1
                return
            session.add_all(_window_rows(track.id, self._bundle_id, heard.encoded))
        self._report.added += 1
        self._report.windows += len(heard.encoded.starts_s)


def _track_row(path: Path, heard: _Heard) -> TrackRow:
    return TrackRow(
        id=heard.sha256[:_TRACK_ID_LENGTH],
        content_sha256=heard.sha256,
        path=str(path),
        title=heard.tags.title,
        artist=heard.tags.artist,
        album=heard.tags.album,
        duration_s=heard.recording.duration_s,
        sample_rate_hz=heard.recording.sample_rate_hz,
        channels=heard.recording.channels,
        format=heard.recording.format,
        size_bytes=heard.size_bytes,
        added_at=repository.now(),
    )


def _window_rows(track_id: str, bundle_id: str, encoded: EncodedRecording) -> list[WindowRow]:
    return [
        WindowRow(
            track_id=track_id,
            bundle_id=bundle_id,
            position=position,
            start_s=start_s,
            end_s=end_s,
            embedding=encoded.encodings.embedding[position],
            mean=encoded.encodings.mean[position],
            variance=encoded.encodings.variance[position],
        )
        for position, (start_s, end_s) in enumerate(
            zip(encoded.starts_s, encoded.ends_s, strict=True)
        )
    ]
