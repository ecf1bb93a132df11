"""Every query. Functions take a session and leave its transaction to the caller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Exists, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.tables import (
    BundleRow,
    ChangeRow,
    EmotionRow,
    TrackRow,
    TrackTagRow,
    WindowKey,
    WindowRow,
)

_ROWS_AT_ONCE = 1_000
_IDS_AT_ONCE = 500  # databases limit the parameters of a statement


@dataclass(frozen=True)
class Position:
    """Where a page of a list ended: rows come in the order of (``added_at``, ``id``)."""

    added_at: datetime
    id: str


@dataclass(frozen=True)
class TraitRow:
    """What searches may filter a track by; its tags are in a table of their own."""

    track_id: str
    artist: str | None
    bpm: float | None


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)


# Bundles


def active_bundle(session: Session) -> BundleRow | None:
    """Return the bundle that searches use."""
    return session.scalars(select(BundleRow).where(BundleRow.active)).one_or_none()


def bundles(session: Session) -> Sequence[BundleRow]:
    """Return every registered bundle, the newest first."""
    return session.scalars(
        select(BundleRow).order_by(BundleRow.added_at.desc(), BundleRow.id)
    ).all()


def activate_bundle(session: Session, bundle_id: str) -> None:
    """Make one bundle the active one, and every other not."""
    session.execute(update(BundleRow).values(active=BundleRow.id == bundle_id))


# Tracks


def track(session: Session, track_id: str) -> TrackRow | None:
    """Return a track."""
    return session.get(TrackRow, track_id)


def track_of_content(session: Session, content_sha256: str) -> TrackRow | None:
    """Return the track whose file has this content."""
    query = select(TrackRow).where(TrackRow.content_sha256 == content_sha256)
    return session.scalars(query).one_or_none()


def tracks_by_id(session: Session, ids: Sequence[str]) -> dict[str, TrackRow]:
    """Return those of the tracks that exist."""
    rows = session.scalars(select(TrackRow).where(TrackRow.id.in_(ids)))
    return {row.id: row for row in rows}


def count_tracks(session: Session) -> int:
    """Return how many tracks there are."""
    return session.scalar(select(func.count()).select_from(TrackRow)) or 0


def page_of_tracks(session: Session, after: Position | None, limit: int) -> Sequence[TrackRow]:
    """Return up to ``limit`` tracks that come after a position, oldest first."""
    query = select(TrackRow).order_by(TrackRow.added_at, TrackRow.id).limit(limit)
    if after is not None:
        query = query.where(_comes_after(TrackRow.added_at, TrackRow.id, after))
    return session.scalars(query).all()


def delete_track(session: Session, track_id: str) -> bool:
    """Delete a track with its windows and tags; returns whether there was one."""
    found = session.execute(delete(TrackRow).where(TrackRow.id == track_id))
    return bool(found.rowcount)  # type: ignore[attr-defined]


def stream_traits(session: Session, track_ids: Sequence[str] | None = None) -> Iterator[TraitRow]:
    """Yield what searches may filter by, of every track or of some, in any order."""
    asked = select(TrackRow.id, TrackRow.artist, TrackRow.bpm).execution_options(
        yield_per=_ROWS_AT_ONCE
    )
    for part in _parts(track_ids):
        rows = asked if part is None else asked.where(TrackRow.id.in_(part))
        for track_id, artist, bpm in session.execute(rows):
            yield TraitRow(track_id, artist, bpm)


def stream_tags(
    session: Session, track_ids: Sequence[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (track id, tag) of every track or of some, in any order."""
    asked = select(TrackTagRow.track_id, TrackTagRow.tag).execution_options(yield_per=_ROWS_AT_ONCE)
    for part in _parts(track_ids):
        rows = asked if part is None else asked.where(TrackTagRow.track_id.in_(part))
        for row in session.execute(rows):
            yield row.track_id, row.tag


def standing_of_content(
    session: Session, content_sha256: str, bundle_id: str
) -> tuple[bool, bool] | None:
    """Tell of a content whether a bundle has encoded it and whether its tempo is known.

    None where no track has this content.
    """
    query = select(_encoded_by(bundle_id), TrackRow.bpm.is_not(None))
    row = session.execute(query.where(TrackRow.content_sha256 == content_sha256)).one_or_none()
    return None if row is None else (bool(row[0]), bool(row[1]))


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
    query = select(TrackRow.content_sha256).where(_encoded_by(bundle_id))
    yield from session.scalars(query.execution_options(yield_per=_ROWS_AT_ONCE))


def contents_with_tempo(session: Session) -> Iterator[str]:
    """Yield the SHA-256 of every content whose tempo is known, in any order."""
    query = select(TrackRow.content_sha256).where(TrackRow.bpm.is_not(None))
    yield from session.scalars(query.execution_options(yield_per=_ROWS_AT_ONCE))


def move_track(session: Session, track_id: str, path: str) -> None:
    """Note where a track's file is now."""
    session.execute(update(TrackRow).where(TrackRow.id == track_id).values(path=path))


def count_tracks_without_windows(session: Session, bundle_id: str) -> int:
    """Return how many tracks a bundle has not encoded."""
    query = select(func.count()).select_from(TrackRow).where(~_encoded_by(bundle_id))
    return session.scalar(query) or 0


def _encoded_by(bundle_id: str) -> Exists:
    """Say of a track that a bundle has encoded it."""
    return exists().where(WindowRow.track_id == TrackRow.id, WindowRow.bundle_id == bundle_id)


# Windows


def windows_of_track(session: Session, track_id: str, bundle_id: str) -> Sequence[WindowRow]:
    """Return a track's windows in their order."""
    return session.scalars(
        select(WindowRow)
        .where(WindowRow.track_id == track_id, WindowRow.bundle_id == bundle_id)
        .order_by(WindowRow.position)
    ).all()


def count_windows(session: Session, bundle_id: str) -> int:
    """Return how many windows a bundle has encoded."""
    query = select(func.count()).select_from(WindowRow).where(WindowRow.bundle_id == bundle_id)
    return session.scalar(query) or 0


def stream_windows(
    session: Session, bundle_id: str, track_ids: Sequence[str] | None = None
) -> Iterator[tuple[WindowKey, Any, Any, Any]]:
    """Yield windows of a bundle with embedding, mean and variance, of every track or of some.

    They come ordered by track id, as the database orders text, and position; of some tracks, in
    several such runs.
    """
    asked = (
        select(
            WindowRow.track_id,
            WindowRow.position,
            WindowRow.start_s,
            WindowRow.end_s,
            WindowRow.embedding,
            WindowRow.mean,
            WindowRow.variance,
        )
        .where(WindowRow.bundle_id == bundle_id)
        .order_by(WindowRow.track_id, WindowRow.position)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for part in _parts(track_ids):
        rows = asked if part is None else asked.where(WindowRow.track_id.in_(part))
        for track_id, position, start_s, end_s, embedding, mean, variance in session.execute(rows):
            yield (track_id, position, start_s, end_s), embedding, mean, variance


def _parts(track_ids: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    """Cut ids into parts that a statement can take; None, for all of them, stays whole."""
    if track_ids is None:
        yield None
        return
    for first in range(0, len(track_ids), _IDS_AT_ONCE):
        yield track_ids[first : first + _IDS_AT_ONCE]


# Changes


def last_change(session: Session) -> int:
    """Return the number of the last change, 0 where there was none."""
    return session.scalar(select(func.max(ChangeRow.number))) or 0


def changed_tracks(session: Session, bundle_id: str, after: int) -> list[str]:
    """Return the tracks that changed after a number, as one bundle's searches see them, sorted."""
    concerned = or_(ChangeRow.bundle_id.is_(None), ChangeRow.bundle_id == bundle_id)
    asked = select(ChangeRow.track_id).where(ChangeRow.number > after, concerned).distinct()
    return sorted(session.scalars(asked))


def knows_change(session: Session, number: int) -> bool:
    """Return whether the journal still reaches back to a change (0: to the very beginning).

    What a snapshot on disk needs is never forgotten, so of the beginning it always does.
    """
    return number == 0 or session.get(ChangeRow, number) is not None


def forget_changes(session: Session, before: int) -> None:
    """Drop the changes below a number, which no search index needs any more."""
    session.execute(delete(ChangeRow).where(ChangeRow.number < before))


# Emotions


def emotion(session: Session, emotion_id: str) -> EmotionRow | None:
    """Return an emotion."""
    return session.get(EmotionRow, emotion_id)


def emotions(session: Session) -> Sequence[EmotionRow]:
    """Return every emotion, ordered by id."""
    return sorted(session.scalars(select(EmotionRow)), key=lambda row: row.id)


def emotion_ids(session: Session) -> set[str]:
    """Return the ids of every emotion."""
    return set(session.scalars(select(EmotionRow.id)))


def count_emotions(session: Session) -> int:
    """Return how many emotions there are."""
    return session.scalar(select(func.count()).select_from(EmotionRow)) or 0


def page_of_emotions(session: Session, after: Position | None, limit: int) -> Sequence[EmotionRow]:
    """Return up to ``limit`` emotions that come after a position, oldest first."""
    query = select(EmotionRow).order_by(EmotionRow.added_at, EmotionRow.id).limit(limit)
    if after is not None:
        query = query.where(_comes_after(EmotionRow.added_at, EmotionRow.id, after))
    return session.scalars(query).all()


def _comes_after(
    added_at: InstrumentedAttribute[datetime], row_id: InstrumentedAttribute[str], after: Position
) -> Any:
    return or_(added_at > after.added_at, and_(added_at == after.added_at, row_id > after.id))
