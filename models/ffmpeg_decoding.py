"""Any recording by FFmpeg's decoders, through PyAV, at its native rate.

Demuxers are whitelisted, since some of FFmpeg's (concat, hls) read other files that the bytes name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from models.framing import mp3_counts_frames
from models.sound import AudioError, Sound, averaged

_DEMUXERS = "mp3,ogg,flac,wav,aiff,mov,matroska,aac"
_NATIVE_RATES_HZ = range(1_000, 768_001)
_MOST_CHANNELS = 64  # FFmpeg's filters take no more
_PLANES_READ = 2

av.logging.set_level(av.logging.PANIC)  # FFmpeg's messages on hostile files are not our log


@contextmanager
def opened_by_ffmpeg(stream: BinaryIO) -> Iterator[Sound]:
    """Open a recording; its blocks are decoded while they are read.

    Raises:
        AudioError: nothing in it can be decoded.
    """
    counts_frames = mp3_counts_frames(stream)
    stream.seek(0)
    try:
        with av.open(
            stream, mode="r", metadata_errors="replace", options={"format_whitelist": _DEMUXERS}
        ) as container:
            yield _sound(container, counts_frames)
    except (av.error.FFmpegError, EOFError) as error:
        raise AudioError(
            "audio_unreadable",
            "this is no recording that can be decoded: send mp3, ogg, opus, flac, wav, aiff, "
            "m4a, aac or webm",
        ) from error


def _sound(container: av.container.InputContainer, counts_frames: bool) -> Sound:
    if not container.streams.audio:
        raise AudioError("audio_unreadable", "the file has no audio stream")
    track = container.streams.audio[0]
    if track.codec_context is None:
        raise AudioError("audio_unreadable", "nothing here can decode the codec of its sound")
    rate_hz, channels = track.rate, track.channels
    if rate_hz not in _NATIVE_RATES_HZ:
        raise AudioError("audio_unreadable", f"a sample rate of {rate_hz} Hz cannot be used")
    if not 1 <= channels <= _MOST_CHANNELS:
        raise AudioError(
            "audio_unreadable", f"{channels} channels cannot be used: send 1 to {_MOST_CHANNELS}"
        )
    return Sound(
        rate_hz,
        channels,
        container.format.name,
        _declared_duration_s(container, counts_frames),
        _blocks(container, track),
    )


def _blocks(
    container: av.container.InputContainer, track: av.audio.stream.AudioStream
) -> Iterator[NDArray[np.float32]]:
    """Yield the average of the channels, about a second at a time.

    A codec's frames are a few hundredths of a second: handled one by one, numpy's calls would cost
    as much as the decoding.
    """
    # Interleaved: PyAV reads beyond its array of planes from eight channels on, and crashes.
    to_float = av.AudioResampler(format="flt")
    waiting: list[list[NDArray[np.float32]]] = []
    samples, channels = 0, 1
    for frame in _frames(container, track):
        channels = frame.layout.nb_channels
        if channels <= _PLANES_READ and frame.format.name == "fltp":
            # As MP3, Vorbis, Opus and AAC come: the detour through FFmpeg's filters costs as much
            # as their decoding.
            waiting.append([_float_values(plane, frame.samples) for plane in frame.planes])
        else:
            waiting.extend(
                [_float_values(part.planes[0], part.samples * channels)]
                for part in to_float.resample(frame)
            )
        samples += frame.samples
        if samples >= track.rate:
            yield _joined(waiting, channels)
            waiting, samples = [], 0
    if waiting:
        yield _joined(waiting, channels)


def _float_values(plane: av.audio.plane.AudioPlane, count: int) -> NDArray[np.float32]:
    return np.frombuffer(memoryview(plane), np.float32, count)  # a plane is padded at its end


def _joined(frames: list[list[NDArray[np.float32]]], channels: int) -> NDArray[np.float32]:
    return averaged([np.concatenate(parts) for parts in zip(*frames, strict=True)], channels)


def _frames(
    container: av.container.InputContainer, track: av.audio.stream.AudioStream
) -> Iterator[av.AudioFrame]:
    """Yield decoded frames, all of one kind, passing over packets that are damaged."""
    first: tuple[int, str, str] | None = None
    for packet in container.demux(track):
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, EOFError):
            continue  # what is lost is seen in the duration
        for frame in frames:
            kind = (frame.sample_rate, frame.layout.name, frame.format.name)
            if kind != (first := first or kind):
                raise AudioError(
                    "audio_unreadable", "the sample rate or the channels change within the file"
                )
            yield frame


def _declared_duration_s(
    container: av.container.InputContainer, counts_frames: bool
) -> float | None:
    """Return how long the header says the file is, or None where FFmpeg can only guess it."""
    guessed = container.format.name == "aac" or (
        container.format.name == "mp3" and not counts_frames
    )
    if guessed or container.duration is None:
        return None
    return float(container.duration) / 1_000_000
