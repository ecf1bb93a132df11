"""M2E in three steps: listen to an upload, compute its features, answer.

The first and the last are one request's own; between them a frontend's network may work on the
patches of many requests at once (see :mod:`service.batching`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.audio import AudioError, Recording, decode
from models.bundle import EncodedRecording
from models.estimate import Estimate
from models.features import PatchFrontend
from service.errors import AudioRefusedError
from service.listeners import Listeners, hear_recording
from service.retrieval import Answer, Emotion, Limits, Searcher


@dataclass(frozen=True, eq=False)
class EmotionAnswer:
    """An answer whose matches are emotions, the emotions by id, and what was heard."""

    answer: Answer
    emotions: Mapping[str, Emotion]
    recording: Recording
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class Listened:
    """A decoded upload, the state of the service that will answer it, and when it came.

    ``patches`` (T, 96, 64) are what the frontend, a network, computes features of.
    """

    searcher: Searcher
    recording: Recording
    patches: NDArray[np.float32]
    started_s: float


def network_of(searcher: Searcher) -> PatchFrontend | None:
    """Return the frontend where it is a network over patches."""
    frontend = searcher.bundle.frontend
    return frontend if isinstance(frontend, PatchFrontend) else None


def listen(
    searcher: Searcher, network: PatchFrontend, audio: BinaryIO, max_duration_s: float
) -> Listened:
    """Decode an upload and cut it into the network's patches.

    Raises:
        AudioRefusedError: it is no usable recording.
    """
    started_s = time.perf_counter()
    try:
        recording = decode(
            audio, rate_hz=searcher.bundle.hearing_rate_hz, max_duration_s=max_duration_s
        )
    except AudioError as error:
        raise AudioRefusedError(error) from error
    patches = network.patches(recording.waveform)
    return Listened(searcher, recording.without_samples(), patches, started_s)


def answer(listened: Listened, features: NDArray[np.float32], limits: Limits) -> EmotionAnswer:
    """Rank emotions for a recording whose features (T, F) are known, and estimate its course."""
    recording = listened.recording
    heard = listened.searcher.bundle.encode_features(features, recording.duration_s)
    return _answer(listened.searcher, recording, heard, limits, listened.started_s)


def hear(
    searcher: Searcher,
    audio: BinaryIO,
    limits: Limits,
    max_duration_s: float,
    listeners: Listeners | None = None,
) -> EmotionAnswer:
    """Take all three steps for one upload, with any frontend; ``listeners`` may take the second.

    Raises:
        AudioRefusedError: it is no usable recording.
    """
    started_s = time.perf_counter()
    try:
        if listeners is None:
            recording, heard = hear_recording(searcher.bundle, audio, max_duration_s)
        else:
            recording, heard = listeners.hear(
                searcher.bundle, searcher.bundle_folder, audio, max_duration_s
            )
    except AudioError as error:
        raise AudioRefusedError(error) from error
    return _answer(searcher, recording, heard, limits, started_s)


def _answer(
    searcher: Searcher,
    recording: Recording,
    heard: EncodedRecording,
    limits: Limits,
    started_s: float,
) -> EmotionAnswer:
    found = searcher.search_emotions(heard, limits)
    estimate = searcher.estimate(heard.encodings, heard.starts_s, recording.duration_s)
    found = replace(found, took_ms=(time.perf_counter() - started_s) * 1_000)
    return EmotionAnswer(found, searcher.emotions.emotions, recording, estimate)
