"""The one writer: tracks, windows, tags and tempi, several files a transaction."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.bundle import EncodedRecording
from models.checksum import file_sha256
from service import repository
from service.database import Database
from service.ingest.hearing import Failed, Heard, Known, Outcome
from service.ingest.report import IngestReport
from service.tables import TrackRow, TrackTagRow, WindowRow

_FILES_AT_ONCE = 32
_LONGEST_WAIT_S = 1.0
_ATTEMPTS = 3
_TRACK_ID_LENGTH = 32


class Writer:
    """Takes outcomes in their order and commits them in groups.

    What a group adds is counted in the report only once it is committed, durably.
    """

    def __init__(self, database: Database, bundle_id: str, report: IngestReport) -> None:
        self._database = database
        self._bundle_id = bundle_id
        self._report = report
        self._waiting: list[tuple[Path, Known | Heard]] = []
        self._waiting_since_s = 0.0

    def write(self, path: Path, outcome: Outcome) -> int:
        """Take what became of one file; returns how many files are settled by this call."""
        if isinstance(outcome, Failed):
            self._report.failed.append((path, outcome.reason))
            return 1
        if not self._waiting:
            self._waiting_since_s = time.monotonic()
        self._waiting.append((path, outcome))
        waited_s = time.monotonic() - self._waiting_since_s
        if len(self._waiting) >= _FILES_AT_ONCE or waited_s >= _LONGEST_WAIT_S:
            return self.flush()
        return 0

    def flush(self) -> int:
        """Commit what waits; returns how many files that settles."""
        group, self._waiting = self._waiting, []
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                counts = self._commit(group)
                break
            except IntegrityError:  # another process added one of these tracks meanwhile
                if attempt == _ATTEMPTS:
                    raise
        for name, count in counts.items():
            setattr(self._report, name, getattr(self._report, name) + count)
        heard = [outcome for _, outcome in group if isinstance(outcome, Heard)]
        self._report.heard += len(heard)
        self._report.heard_s += sum(each.duration_s for each in heard)
        return len(group)

    def _commit(self, group: list[tuple[Path, Known | Heard]]) -> dict[str, int]:
        moved = self._moved([(path, each) for path, each in group if isinstance(each, Known)])
        heard = [(path, each) for path, each in group if isinstance(each, Heard)]
        counts = {"added": 0, "skipped": len(group) - len(heard), "windows": 0, "tempi": 0}
        if not moved and not heard:
            return counts
        with self._database.writing() as session:
            for track_id, path in moved.items():
                repository.move_track(session, track_id, str(path))
            for path, each in heard:
                added, windows, tempi = self._put(session, path, each)
                counts["added" if added else "skipped"] += 1
                counts["windows"] += windows
                counts["tempi"] += tempi
        return counts

    def _moved(self, known: list[tuple[Path, Known]]) -> dict[str, Path]:
        """Return the new paths of tracks, by their ids, whose file is not where it was."""
        if not known:
            return {}
        with self._database.reading() as session:
            tracks = repository.tracks_of_contents(session, [each.sha256 for _, each in known])
        moved: dict[str, Path] = {}
        for path, each in known:
            track_id, old = tracks.get(each.sha256, ("", str(path)))  # deleted meanwhile: no matter
            if old != str(path) and track_id not in moved and not _holds(Path(old), each.sha256):
                moved[track_id] = path
        return moved

    def _put(self, session: Session, path: Path, heard: Heard) -> tuple[bool, int, int]:
        """Add a track, or what a known one lacks: (whether windows were added, windows, tempi)."""
        # Asked again inside the transaction: another process, or a copy of the file, was faster.
        track = repository.track_of_content(session, heard.sha256)
        if track is None:
            track = _track_row(path, heard)
            session.add(track)
            session.flush()
            tempi = int(heard.bpm is not None)
        else:
            if track.path != str(path) and not _holds(Path(track.path), heard.sha256):
                track.path = str(path)
            tempi = int(track.bpm is None and heard.bpm is not None)
            if tempi:
                track.bpm = heard.bpm
        if heard.encoded is None or repository.windows_of_track(session, track.id, self._bundle_id):
            return False, 0, tempi
        windows = _windows(track.id, self._bundle_id, heard.encoded)
        session.execute(insert(WindowRow), windows)
        return True, len(windows), tempi


def _holds(path: Path, sha256: str) -> bool:
    """Tell whether a file is there and has this content."""
    try:
        return file_sha256(path) == sha256
    except OSError:
        return False


def _track_row(path: Path, heard: Heard) -> TrackRow:
    return TrackRow(
        id=heard.sha256[:_TRACK_ID_LENGTH],
        content_sha256=heard.sha256,
        path=str(path),
        title=heard.tags.title,
        artist=heard.tags.artist,
        album=heard.tags.album,
        duration_s=heard.duration_s,
        sample_rate_hz=heard.sample_rate_hz,
        channels=heard.channels,
        format=heard.format,
        size_bytes=heard.size_bytes,
        bpm=heard.bpm,
        tags=[TrackTagRow(tag=genre) for genre in heard.tags.genres],
        added_at=repository.now(),
    )


def _windows(track_id: str, bundle_id: str, encoded: EncodedRecording) -> list[dict[str, object]]:
    return [
        {
            "track_id": track_id,
            "bundle_id": bundle_id,
            "position": position,
            "start_s": start_s,
            "end_s": end_s,
            "embedding": encoded.encodings.embedding[position],
            "mean": encoded.encodings.mean[position],
            "variance": encoded.encodings.variance[position],
        }
        for position, (start_s, end_s) in enumerate(
            zip(encoded.starts_s, encoded.ends_s, strict=True)
        )
    ]
