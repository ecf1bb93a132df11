"""Every query. Functions take a session and leave its transaction to the caller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.tables import BundleRow, EmotionRow, TrackRow, WindowKey, WindowRow

_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Position:
    """Where a page of a list ended: rows come in the order of (``added_at``, ``id``)."""

    added_at: datetime
    id: str


@dataclass(frozen=True)
class KnownTrack:
    """A track of the catalogue, as ingest needs it; ``encoded`` by the bundle asked about."""

    id: str
    path: str
    encoded: bool


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


def artists(session: Session) -> dict[str, str]:
    """Return the artist of every track that names one, by track id."""
    rows = session.execute(select(TrackRow.id, TrackRow.artist).where(TrackRow.artist.is_not(None)))
    return {track_id: artist for track_id, artist in rows if artist}


def known_tracks(session: Session, bundle_id: str) -> dict[str, KnownTrack]:
    """Return every track by the SHA-256 of its content."""
    encoded = exists().where(WindowRow.track_id == TrackRow.id, WindowRow.bundle_id == bundle_id)
    rows = session.execute(select(TrackRow.content_sha256, TrackRow.id, TrackRow.path, encoded))
    return {sha256: KnownTrack(track_id, path, done) for sha256, track_id, path, done in rows}


def move_track(session: Session, track_id: str, path: str) -> None:
    """Note where a track's file is now."""
    session.execute(update(TrackRow).where(TrackRow.id == track_id).values(path=path))


def count_tracks_without_windows(session: Session, bundle_id: str) -> int:
    """Return how many tracks a bundle has not encoded."""
    encoded = exists().where(WindowRow.track_id == TrackRow.id, WindowRow.bundle_id == bundle_id)
    return session.scalar(select(func.count()).select_from(TrackRow).where(~encoded)) or 0


# Windows


def windows_of_track(session: Session, track_id: str, bundle_id: str) -> Sequence[WindowRow]:
    """Return a track's windows in their order."""
    return session.scalars(
        select(WindowRow)
        .where(WindowRow.track_id == track_id, WindowRow.bundle_id == bundle_id)
        .order_by(WindowRow.position)
    ).all()


def window_keys(session: Session, bundle_id: str) -> list[WindowKey]:
    """Return which windows a bundle has encoded, ordered by track id and position."""
    rows = session.execute(
        select(WindowRow.track_id, WindowRow.position, WindowRow.start_s, WindowRow.end_s).where(
            WindowRow.bundle_id == bundle_id
        )
    )
    # Sorted here: databases disagree about the order of text.
    return sorted((track_id, position, start, end) for track_id, position, start, end in rows)


def stream_windows(session: Session, bundle_id: str) -> Iterator[tuple[WindowKey, Any, Any, Any]]:
    """Yield every window of a bundle with its embedding, mean and variance, in any order."""
    rows = session.execute(
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
    for track_id, position, start_s, end_s, embedding, mean, variance in rows:
        yield (track_id, position, start_s, end_s), embedding, mean, variance


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
