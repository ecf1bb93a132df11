"""A flawless MP3 by mpg123, in libsndfile: a second of sound in one call.

PyAV hands over every frame, 26 ms of sound, in Python, and gives up and takes back the
interpreter's lock some four times for each: threads that decode side by side spend more on that
than on decoding. Both decoders give the same samples to a few millionths where no frame is missing
or damaged, and only such files are decoded here (:mod:`models.mp3_flawless` tells).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.mp3_flawless import SAMPLES_PER_FRAME, Mp3Frames
from models.sound import Sound, averaged

_MOST_TRIMMED_FRAMES = 4
"""How many of the first and last frames' samples belong to the coder and not to the music."""


class UndecidedError(RuntimeError):
    """The decoder does not give what the frames promise: another one has to judge the file."""


@contextmanager
def opened_by_mpg123(stream: BinaryIO, frames: Mp3Frames) -> Iterator[Sound]:
    """Open an MP3 of flawless ``frames``; its blocks are decoded while they are read.

    Raises:
        UndecidedError: also while blocks are read.
    """
    stream.seek(0)
    try:
        with soundfile.SoundFile(stream) as file:
            if (file.format, file.samplerate, file.channels) != (
                "MP3",
                frames.rate_hz,
                frames.channels,
            ):
                raise UndecidedError
            yield Sound(frames.rate_hz, frames.channels, "mp3", None, _blocks(file, frames))
    except soundfile.SoundFileError as error:
        raise UndecidedError from error


def _blocks(file: soundfile.SoundFile, frames: Mp3Frames) -> Iterator[NDArray[np.float32]]:
    samples = 0
    while len(block := file.read(frames.rate_hz, dtype="float32", always_2d=True)):
        samples += len(block)
        yield averaged([block.ravel()], frames.channels)
    most = frames.count * SAMPLES_PER_FRAME
    if not most - _MOST_TRIMMED_FRAMES * SAMPLES_PER_FRAME <= samples <= most:
        raise UndecidedError
