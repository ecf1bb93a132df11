"""The tables. They come to be only through the migrations, which a test compares with this file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

WindowKey = tuple[str, int, float, float]
"""(track id, position, start_s, end_s): which window it is, without its encoding."""


class FloatBlob(TypeDecorator[NDArray[Any]]):
    """A one-dimensional array as little-endian bytes of one float type, the same on any machine."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, dtype: str) -> None:
        """Take the numpy name of the element type: ``<f4`` or ``<f8``."""
        super().__init__()
        self.dtype = dtype

    def process_bind_param(self, value: NDArray[Any] | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Write an array as bytes."""
        return None if value is None else np.ascontiguousarray(value, self.dtype).tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> NDArray[Any] | None:  # noqa: ARG002
        """Read an array from bytes."""
        return None if value is None else np.frombuffer(value, self.dtype)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no zone, so none is stored anywhere."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Write a moment of any zone as UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read a moment as UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """What all tables share: constraint names that migrations can refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class BundleRow(Base):
    """A registered bundle; ``path`` is relative to the home folder, at most one is active."""

    __tablename__ = "bundles"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    path: Mapped[str] = mapped_column(Text)
    active: Mapped[bool]
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TrackRow(Base):
    """A recording of the catalogue; ``path`` is where its file was last seen.

    ``bpm`` is its tempo in beats a minute, None where it was not measured or has none.
    """

    __tablename__ = "tracks"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    content_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    path: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    artist: Mapped[str | None] = mapped_column(Text)
    album: Mapped[str | None] = mapped_column(Text)
    duration_s: Mapped[float] = mapped_column(Float(53))
    sample_rate_hz: Mapped[int]
    channels: Mapped[int]
    format: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    bpm: Mapped[float | None] = mapped_column(Float(53))
    added_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)

    windows: Mapped[list[WindowRow]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True
    )
    tags: Mapped[list[TrackTagRow]] = relationship(
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="TrackTagRow.tag",
        lazy="selectin",  # answers show them when the session is gone
    )


class TrackTagRow(Base):
    """One word that a track is tagged with, in lower case."""

    __tablename__ = "track_tags"

    track_id: Mapped[str] = mapped_column(
        ForeignKey("tracks.id", ondelete="CASCADE"), primary_key=True
    )
    tag: Mapped[str] = mapped_column(String(100), primary_key=True)


class ChangeRow(Base):
    """Something about a track changed, or its windows of one bundle; written by triggers only.

    Numbers grow with every change and are never used again.
    """

    __tablename__ = "changes"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True
    )
    track_id: Mapped[str] = mapped_column(String(64))
    bundle_id: Mapped[str | None] = mapped_column(String(64))


class WindowRow(Base):
    """One window of a track as one bundle encodes it; the blobs are (D,) float32.

    The blobs come last, so that reading the rest of a row leaves their pages alone.
    """

    __tablename__ = "windows"
    __table_args__ = (UniqueConstraint("track_id", "bundle_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id", ondelete="CASCADE"))
    bundle_id: Mapped[str] = mapped_column(ForeignKey("bundles.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    start_s: Mapped[float] = mapped_column(Float(53))
    end_s: Mapped[float] = mapped_column(Float(53))
    embedding: Mapped[NDArray[np.float32]] = mapped_column(FloatBlob("<f4"))
    mean: Mapped[NDArray[np.float32]] = mapped_column(FloatBlob("<f4"))
    variance: Mapped[NDArray[np.float32]] = mapped_column(FloatBlob("<f4"))


class EmotionRow(Base):
    """A named curve; ``curve`` is (2T,) float64: the (T, 2) values of a Curve, row by row."""

    __tablename__ = "emotions"
    __table_args__ = (CheckConstraint("source IN ('mood', 'corpus', 'user')", name="source"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    label: Mapped[str] = mapped_column(Text)
    mood: Mapped[str] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(String(16))
    curve: Mapped[NDArray[np.float64]] = mapped_column(FloatBlob("<f8"))
    added_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
