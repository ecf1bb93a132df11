"""The searches of the running service, for the command line: the same code over the same state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.curve import Curve
from service.listening import EmotionAnswer
from service.live import LiveService, TrackAnswer
from service.retrieval import Limits
from service.settings import Settings


def search_tracks_offline(
    settings: Settings, curve: Curve, *, k: int = 10, weight: float | None = None
) -> TrackAnswer:
    """Rank the catalogue's tracks for a curve.

    Raises:
        StartError: the home folder cannot be searched.
    """
    with _service(settings) as service:
        return service.search_tracks(curve, Limits(k, weight))


def search_emotions_offline(
    settings: Settings, file: Path, *, k: int = 10, weight: float | None = None
) -> EmotionAnswer:
    """Rank emotions for a recording and estimate its course.

    Raises:
        StartError: the home folder cannot be searched.
        AudioRefusedError: the file is no usable recording.
        OSError: the file cannot be read.
    """
    with _service(settings) as service, file.open("rb") as audio:
        return service.search_emotions(audio, Limits(k, weight))


@contextmanager
def _service(settings: Settings) -> Iterator[LiveService]:
    service = LiveService(settings)
    try:
        yield service
    finally:
        service.close()
