"""The running service without HTTP: the current searcher, the database, and how both keep up."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.bundle import MANIFEST_FILE, Bundle
from models.curve import Curve
from models.estimate import Estimate
from models.similarity import Encodings
from service import repository
from service.catalogue import load_active_bundle, load_current_snapshot
from service.database import Database
from service.emotions import user_emotion
from service.errors import (
    EmotionNotFoundError,
    StartError,
    TrackNotFoundError,
    TrackNotIndexedError,
)
from service.following import catch_up, follow
from service.index.snapshot import current_id
from service.listeners import Listeners
from service.listening import EmotionAnswer, hear
from service.repository import Position
from service.retrieval import Answer, Emotion, EmotionShelf, Limits, Searcher
from service.settings import Settings
from service.tables import BundleRow, EmotionRow, TrackRow

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what no id can be need not reach the database

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrackAnswer:
    """An answer whose matches are tracks, and the tracks by id."""

    answer: Answer
    tracks: Mapping[str, TrackRow]


@dataclass(frozen=True, eq=False)
class RegisteredModel:
    """A bundle of the home folder and what its manifest says."""

    row: BundleRow
    active: bool
    manifest: Mapping[str, Any]


class LiveService:
    """Answers queries from one immutable :class:`Searcher` at a time."""

    def __init__(self, settings: Settings) -> None:
        """Load everything.

        Raises:
            StartError: there is no active bundle or no search index, one is damaged, or they do not
                belong together.
        """
        self.settings = settings
        self.database = Database(settings.database)
        self._changing = threading.Lock()
        self._last_refusal = ""
        self.damaged: Path | None = None
        self._searcher = self._load()
        self.listeners = Listeners(min(settings.hearing_processes, settings.concurrent_encodings))

    @property
    def searcher(self) -> Searcher:
        """The current state; hold on to it for the length of one request."""
        return self._searcher

    def close(self) -> None:
        """Let go of the database, and end the processes that hear uploads."""
        self.listeners.close()
        self.database.close()

    # Searching

    def search_tracks(self, curve: Curve, limits: Limits) -> TrackAnswer:
        """E2M: rank tracks for a curve."""
        return self._with_tracks(self.searcher.search_tracks(curve, limits))

    def similar_tracks(self, track_id: str, limits: Limits) -> TrackAnswer:
        """M2M: rank the other tracks for one.

        Raises:
            TrackNotFoundError: there is none of this id.
            TrackNotIndexedError: the index does not hold it.
        """
        self.track(track_id)
        return self._with_tracks(self.searcher.similar_tracks(track_id, limits))

    def search_emotions(self, audio: BinaryIO, limits: Limits) -> EmotionAnswer:
        """M2E: hear a recording; rank emotions for it and estimate its course.

        Raises:
            AudioRefusedError: it is no usable recording.
        """
        return hear(self.searcher, audio, limits, self.settings.max_audio_s, self.listeners)

    # The catalogue

    def track(self, track_id: str) -> TrackRow:
        """Return a track.

        Raises:
            TrackNotFoundError: there is none of this id.
        """
        with self.database.reading() as session:
            row = repository.track(session, track_id) if _ID.fullmatch(track_id) else None
        if row is None:
            raise TrackNotFoundError(track_id)
        return row

    def page_of_tracks(self, after: Position | None, limit: int) -> tuple[Sequence[TrackRow], int]:
        """Return a part of the tracks, and how many there are in all."""
        with self.database.reading() as session:
            rows = repository.page_of_tracks(session, after, limit)
            return rows, repository.count_tracks(session)

    def page_of_emotions(
        self, after: Position | None, limit: int
    ) -> tuple[Sequence[EmotionRow], int]:
        """Return a part of the emotions, and how many there are in all."""
        with self.database.reading() as session:
            rows = repository.page_of_emotions(session, after, limit)
            return rows, repository.count_emotions(session)

    def emotion(self, emotion_id: str) -> Emotion:
        """Return an emotion.

        Raises:
            EmotionNotFoundError: there is none of this id.
        """
        with self.database.reading() as session:
            row = repository.emotion(session, emotion_id) if _ID.fullmatch(emotion_id) else None
        if row is None:
            raise EmotionNotFoundError(emotion_id)
        return Emotion.of_row(row)

    def models(self) -> list[RegisteredModel]:
        """Describe the registered bundles; one whose manifest cannot be read is left out."""
        with self.database.reading() as session:
            rows = repository.bundles(session)
        active = self.searcher.bundle.id
        described: list[RegisteredModel] = []
        for row in rows:
            try:
                text = (self.settings.home / row.path / MANIFEST_FILE).read_text()
                described.append(RegisteredModel(row, row.id == active, json.loads(text)))
            except (OSError, ValueError) as error:
                logger.warning("the manifest of bundle %s cannot be read: %s", row.name, error)
        return described

    def track_estimate(self, track_id: str) -> Estimate:
        """Read arousal and valence over the whole of a track off its stored windows.

        Raises:
            TrackNotFoundError: there is none of this id.
            TrackNotIndexedError: the active bundle has not encoded it.
        """
        searcher = self.searcher
        track = self.track(track_id)
        with self.database.reading() as session:
            rows = repository.windows_of_track(session, track_id, searcher.bundle.id)
        if not rows:
            raise TrackNotIndexedError(track_id)
        encodings = Encodings(
            np.stack([row.embedding for row in rows]),
            np.stack([row.mean for row in rows]),
            np.stack([row.variance for row in rows]),
        )
        return searcher.estimate(encodings, [row.start_s for row in rows], track.duration_s)

    def add_emotion(self, label: str, curve: Curve) -> Emotion:
        """Add a caller's emotion: durable, and found by searches, once this returns."""
        row = user_emotion(label, curve)
        emotion = Emotion.of_row(row)
        with self._changing:
            with self.database.writing() as session:
                session.add(row)
            known = self._searcher.emotions.emotions.values()
            self._searcher = self._searcher.with_emotions([*known, emotion])
        return emotion

    def delete_track(self, track_id: str) -> None:
        """Take a track out of the catalogue: for good, and found no more, once this returns.

        The file of the recording stays where it is.

        Raises:
            TrackNotFoundError: there is none of this id.
        """
        if not _ID.fullmatch(track_id):
            raise TrackNotFoundError(track_id)
        with self.database.writing() as session:
            if not repository.delete_track(session, track_id):
                raise TrackNotFoundError(track_id)
        self.refresh()

    # Keeping up with the database and with other processes

    def refresh(self) -> bool:
        """Take over what changed: tracks or emotions in the database, or a newer search index.

        An index that cannot be used is logged, once, and the present one stays. Returns whether
        the state changed.
        """
        with self._changing:
            before = self._searcher
            if current_id(self.settings.snapshots_folder) != before.snapshot.id:
                self._take_over_snapshot()
            self._follow()
            return self._searcher is not before

    def _take_over_snapshot(self) -> None:
        try:
            self._searcher = self._load(self._searcher.bundle)
        except StartError as error:
            if str(error) != self._last_refusal:
                logger.error("the new search index is not used: %s", error)
            self._last_refusal = str(error)
        else:
            self._last_refusal = ""
            logger.info("now searching index %s", self._searcher.snapshot.id)

    def _follow(self) -> None:
        searcher = self._searcher
        with self.database.reading() as session:
            followed = catch_up(session, searcher.snapshot, searcher.followed)
            if followed is not searcher.followed:
                searcher = replace(searcher, followed=followed)
            # No emotion is ever changed, so that their number tells of new ones.
            if repository.count_emotions(session) != len(searcher.emotions.emotions):
                rows = repository.emotions(session)
                searcher = searcher.with_emotions(Emotion.of_row(row) for row in rows)
        self._searcher = searcher

    def _load(self, loaded: Bundle | None = None) -> Searcher:
        """Load the active state; ``loaded`` is a bundle that need not be loaded again."""
        with self.database.reading() as session:
            row = repository.active_bundle(session)
        if row is not None and loaded is not None and row.id == loaded.id:
            bundle = loaded
        else:
            row, bundle = load_active_bundle(self.settings, self.database)
        snapshot = load_current_snapshot(self.settings, bundle.id)
        with self.database.reading() as session:
            followed = follow(session, snapshot)
            emotions = [Emotion.of_row(row) for row in repository.emotions(session)]
        folder = self.settings.home.resolve() / row.path
        shelf = EmotionShelf.build(bundle, emotions)
        return Searcher(bundle, folder, snapshot, followed, shelf)

    def _with_tracks(self, answer: Answer) -> TrackAnswer:
        ids = [match.id for match in answer.matches]
        with self.database.reading() as session:
            return TrackAnswer(answer, repository.tracks_by_id(session, ids))
