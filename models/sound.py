"""What decoders give, whichever decodes: blocks of mono samples, and why a file is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_LOUDEST = 1e10  # full scale is 1; beyond 2³¹ no integer scale explains it, and spectra overflow

AudioFault = Literal[
    "audio_empty",
    "audio_unreadable",
    "audio_truncated",
    "audio_not_finite",
    "audio_silent",
    "audio_too_short",
    "audio_too_long",
]


class AudioError(ValueError):
    """Bytes that are no usable recording: ``code`` says which way, the text says what to do."""

    def __init__(self, code: AudioFault, detail: str) -> None:
        self.code = code
        super().__init__(detail)


@dataclass(frozen=True, eq=False)
class Sound:
    """A file being decoded: ``blocks`` are the average of its channels, about a second each.

    ``declared_s`` is how long its header says that it is, None where that is only a guess.
    """

    rate_hz: int
    channels: int
    format: str
    declared_s: float | None
    blocks: Iterator[NDArray[np.float32]]


def averaged(planes: list[NDArray[np.float32]], channels: int) -> NDArray[np.float32]:
    """Average one plane (samples,) a channel, or a single plane with the channels interleaved.

    Raises:
        AudioError: samples are not finite, or too large to be meant.
    """
    if not all(np.abs(plane).max(initial=0.0) < _LOUDEST for plane in planes):
        raise AudioError(
            "audio_not_finite",
            "the samples hold NaN, infinite or absurdly large values: export it again",
        )
    samples = np.stack(planes, axis=1) if len(planes) > 1 else planes[0].reshape(-1, channels)
    # A product: numpy's mean over a short last axis takes ten times as long.
    mono: NDArray[np.float32] = samples @ np.full(channels, 1 / channels, np.float32)
    return mono
