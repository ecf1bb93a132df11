"""Query → encoding → neighbours → results, over state that never changes.

A :class:`Searcher` holds everything that an answer depends on: the bundle, the track index and the
emotions. A new one replaces it whole; who holds the old one finishes with the old one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from models.audio import Recording
from models.bundle import Bundle, EncodedRecording
from models.calibration import Direction
from models.curve import Curve, CurveWindow
from models.estimate import Estimate
from models.similarity import Encodings
from service.emotions import curve_of
from service.errors import TrackNotIndexedError
from service.filtering import Filters
from service.following import Followed
from service.index.segment import segment_in_memory
from service.index.shelf import Shelf
from service.index.snapshot import Snapshot
from service.index.traits import TrackFilter
from service.ranking import Choice, Hit, rank
from service.tables import EmotionRow


@dataclass(frozen=True)
class Emotion:
    """A named curve that can be found; ``source`` is ``mood``, ``corpus`` or ``user``."""

    id: str
    label: str
    mood: str
    source: str
    curve: Curve

    @classmethod
    def of_row(cls, row: EmotionRow) -> Emotion:
        """Read an emotion from the database's row."""
        return cls(row.id, row.label, row.mood, row.source, curve_of(row))


@dataclass(frozen=True)
class Span:
    """A stretch of time, in seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Match:
    """One result: an owner (track or emotion) by id, its best window pair and their scores."""

    rank: int
    id: str
    window: Span
    query_window: Span
    score: float
    correlation: float
    kl_divergence: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Answer:
    """Ranked matches, and everything their scores depend on."""

    matches: list[Match]
    model: str
    index: str
    weight: float
    divergence_scale: float
    took_ms: float


@dataclass(frozen=True, eq=False)
class Limits:
    """How many results, and which: see ``POST /v1/search/tracks``."""

    k: int = 10
    weight: float | None = None
    filter: TrackFilter | None = None
    exclude: Collection[str] = ()
    max_per_artist: int | None = None
    exact: bool = False


@dataclass(frozen=True, eq=False)
class EmotionShelf:
    """The emotions, by id, and their windows to be searched."""

    emotions: Mapping[str, Emotion]
    shelf: Shelf

    @classmethod
    def build(cls, bundle: Bundle, emotions: Sequence[Emotion]) -> EmotionShelf:
        """Encode emotions; the bundle's own reference curves come encoded with it."""
        known = _encoded_references(bundle)
        blocks = []
        for emotion in emotions:
            encodings = known.get(emotion.curve.values.tobytes())
            if encodings is None:
                encodings = bundle.encode_curve_windows(emotion.curve.windows())
            blocks.append((emotion, encodings))
        return cls._of_blocks(blocks, bundle)

    def holding(self, emotions: Iterable[Emotion], bundle: Bundle) -> EmotionShelf:
        """Return a shelf of these emotions; only those that are new to this one are encoded."""
        blocks = []
        for emotion in emotions:
            if emotion.id in self.emotions:
                encodings = self.shelf.take(self.shelf.rows_of(emotion.id))
            else:
                encodings = bundle.encode_curve_windows(emotion.curve.windows())
            blocks.append((emotion, encodings))
        return self._of_blocks(blocks, bundle)

    @classmethod
    def _of_blocks(
        cls, blocks: Sequence[tuple[Emotion, Encodings]], bundle: Bundle
    ) -> EmotionShelf:
        segment = segment_in_memory(
            (
                (
                    (emotion.id, position, window.start_s, window.end_s),
                    encodings.embedding[position],
                    encodings.mean[position],
                    encodings.variance[position],
                )
                for emotion, encodings in blocks
                for position, window in enumerate(emotion.curve.windows())
            ),
            bundle.manifest.emotion_tower.dimensions,
        )
        return cls({emotion.id: emotion for emotion, _ in blocks}, Shelf.of(segment))


@dataclass(frozen=True, eq=False)
class Searcher:
    """One state of the service, immutable: see the module's text.

    ``followed`` is the snapshot's shelf with what changed since it was made.
    """

    bundle: Bundle
    bundle_folder: Path
    snapshot: Snapshot
    followed: Followed
    emotions: EmotionShelf

    @property
    def tracks(self) -> Shelf:
        """The windows of all tracks."""
        return self.followed.shelf

    @cached_property
    def _filters(self) -> Filters:
        return Filters(self.tracks)

    def with_emotions(self, emotions: Iterable[Emotion]) -> Searcher:
        """Return a state in which these emotions can be found."""
        return replace(self, emotions=self.emotions.holding(emotions, self.bundle))

    def search_tracks(self, curve: Curve, limits: Limits) -> Answer:
        """E2M: rank tracks for a curve, every window of it asking."""
        started_s = time.perf_counter()
        windows = curve.windows()
        query = self.bundle.encode_curve_windows(windows)
        spans = [_span(window) for window in windows]
        return self._tracks(query, spans, "e2m", limits, limits.exclude, started_s)

    def similar_tracks(self, track_id: str, limits: Limits) -> Answer:
        """M2M: rank the other tracks for one that is in the index.

        Raises:
            TrackNotIndexedError: it is not.
        """
        started_s = time.perf_counter()
        rows = self.tracks.rows_of(track_id)
        if len(rows) == 0:
            raise TrackNotIndexedError(track_id)
        spans = [Span(*self.tracks.span_s(row)) for row in rows.tolist()]
        query = self.tracks.take(rows)
        return self._tracks(query, spans, "m2m", limits, {*limits.exclude, track_id}, started_s)

    def hear(self, recording: Recording) -> EncodedRecording:
        """Encode a recording's windows."""
        return self.bundle.encode_recording(recording)

    def search_emotions(self, heard: EncodedRecording, limits: Limits) -> Answer:
        """M2E: rank emotions for an encoded recording."""
        started_s = time.perf_counter()
        spans = [Span(*pair) for pair in zip(heard.starts_s, heard.ends_s, strict=True)]
        hits = self._rank(self.emotions.shelf, heard.encodings, limits)
        return self._answer(hits, self.emotions.shelf, spans, "m2e", limits, started_s)

    def estimate(
        self, windows: Encodings, starts_s: Sequence[float], duration_s: float
    ) -> Estimate:
        """Read arousal and valence over time off encoded music windows."""
        return self.bundle.estimator.estimate(windows, starts_s, duration_s)

    def _tracks(
        self,
        query: Encodings,
        spans: Sequence[Span],
        direction: Direction,
        limits: Limits,
        excluded: Collection[str],
        started_s: float,
    ) -> Answer:
        choice = self._filters.choice(limits.filter, excluded, limits.max_per_artist)
        hits = self._rank(self.tracks, query, limits, choice)
        return self._answer(hits, self.tracks, spans, direction, limits, started_s)

    def _rank(
        self, shelf: Shelf, query: Encodings, limits: Limits, choice: Choice | None = None
    ) -> list[Hit]:
        return rank(
            shelf,
            query,
            limits.k,
            weight=self._weight(limits),
            divergence_scale=self.bundle.manifest.divergence_scale,
            choice=choice,
            exact=limits.exact,
        )

    def _weight(self, limits: Limits) -> float:
        return self.bundle.manifest.weight if limits.weight is None else limits.weight

    def _answer(
        self,
        hits: Sequence[Hit],
        shelf: Shelf,
        spans: Sequence[Span],
        direction: Direction,
        limits: Limits,
        started_s: float,
    ) -> Answer:
        weight = self._weight(limits)
        similarities = self.bundle.similarity.similarity(
            np.array([hit.score for hit in hits]), direction, weight
        )
        matches = [
            Match(
                place,
                hit.owner_id,
                Span(*shelf.span_s(hit.row)),
                spans[hit.query_row],
                hit.score,
                hit.correlation,
                hit.kl_divergence,
                float(similarity),
            )
            for place, (hit, similarity) in enumerate(zip(hits, similarities, strict=True), start=1)
        ]
        return Answer(
            matches,
            self.bundle.id,
            self.snapshot.id,
            weight,
            self.bundle.manifest.divergence_scale,
            (time.perf_counter() - started_s) * 1_000,
        )


def _span(window: CurveWindow) -> Span:
    return Span(window.start_s, window.end_s)


def _encoded_references(bundle: Bundle) -> dict[bytes, Encodings]:
    encoded, first = {}, 0
    for reference in bundle.references:
        count = len(reference.curve.windows())
        rows = np.arange(first, first + count)
        encoded[reference.curve.values.tobytes()] = bundle.estimator.references.take(rows)
        first += count
    return encoded
