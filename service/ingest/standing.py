"""What the catalogue knows of a file's content: the questions that ingest asks the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from service.ingest.hearing import Wanted
from service.tables import TrackRow, WindowRow

_ROWS_AT_ONCE = 10_000


def wanted_of(session: Session, content_sha256: str, bundle_id: str, *, tempo: bool) -> Wanted:
    """Return what is to be heard of a content; its tempo only where ``tempo`` is asked for."""
    encoded = exists().where(WindowRow.track_id == TrackRow.id, WindowRow.bundle_id == bundle_id)
    row = session.execute(
        select(encoded, TrackRow.bpm.is_not(None)).where(TrackRow.content_sha256 == content_sha256)
    ).one_or_none()
    if row is None:
        return Wanted(encoding=True, tempo=tempo)
    is_encoded, has_tempo = row
    return Wanted(encoding=not is_encoded, tempo=tempo and not has_tempo)


def tracks_of_contents(
    session: Session, contents_sha256: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Return (track id, path) of those contents that have a track, by their SHA-256."""
    rows = session.execute(
        select(TrackRow.content_sha256, TrackRow.id, TrackRow.path).where(
            TrackRow.content_sha256.in_(contents_sha256)
        )
    )
    return {sha256: (track_id, path) for sha256, track_id, path in rows}


def encoded_contents(session: Session, bundle_id: str) -> Iterator[str]:
    """Yield the SHA-256 of every content that a bundle has encoded, in any order."""
    encoded = exists().where(WindowRow.track_id == TrackRow.id, WindowRow.bundle_id == bundle_id)
    query = select(TrackRow.content_sha256).where(encoded)
    yield from session.scalars(query.execution_options(yield_per=_ROWS_AT_ONCE))


def contents_with_tempo(session: Session) -> Iterator[str]:
    """Yield the SHA-256 of every content whose tempo is known, in any order."""
    query = select(TrackRow.content_sha256).where(TrackRow.bpm.is_not(None))
    yield from session.scalars(query.execution_options(yield_per=_ROWS_AT_ONCE))
