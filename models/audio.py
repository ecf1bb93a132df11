"""Untrusted bytes in, a mono waveform out: the one audio path of training and service.

FFmpeg (through PyAV) decodes at the native rate and soxr resamples: FFmpeg's own resampler, as
PyAV configures it, aliases audibly. Demuxers are whitelisted, since some of FFmpeg's (concat, hls)
read other files that the bytes name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from models.framing import is_cut_off, mp3_counts_frames

SAMPLE_RATE_HZ = 16_000
MAX_AUDIO_S = 3_600.0
SHORTEST_AUDIO_SAMPLES = 15_600
"""Samples at 16 kHz that one 0.96 s patch needs: 95 hops of 10 ms and one window of 25 ms."""

AUDIO_SUFFIXES = frozenset(
    {
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".flac",
        ".wav",
        ".aiff",
        ".aif",
        ".m4a",
        ".mp4",
        ".aac",
        ".webm",
        ".mka",
    }
)

_DEMUXERS = "mp3,ogg,flac,wav,aiff,mov,matroska,aac"
_NATIVE_RATES_HZ = range(1_000, 768_001)
_MOST_CHANNELS = 64  # FFmpeg's filters take no more
_PLANES_READ = 2
_SILENT_PEAK = 1e-4  # -80 dBFS
_LOUDEST = 1e10  # full scale is 1; beyond 2³¹ no integer scale explains it, and spectra overflow
_LOST_TAIL_S = 0.5
_LOST_TAIL_SHARE = 0.01

av.logging.set_level(av.logging.PANIC)  # FFmpeg's messages on hostile files are not our log

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
class Recording:
    """A decoded recording: ``waveform`` (samples,) float32 mono, and its file.

    ``waveform_rate_hz`` is what the frontend asked for, ``sample_rate_hz`` the file's own rate.
    """

    waveform: NDArray[np.float32]
    duration_s: float
    sample_rate_hz: int
    channels: int
    format: str
    waveform_rate_hz: int = SAMPLE_RATE_HZ


def decode(
    file: BinaryIO | bytes, *, rate_hz: int = SAMPLE_RATE_HZ, max_duration_s: float = MAX_AUDIO_S
) -> Recording:
    """Decode a recording from a seekable file or from bytes, to a waveform at ``rate_hz``.

    Channels are averaged. Decoding stops as soon as ``max_duration_s`` is passed, whatever the
    header promises, so that a small file cannot unfold into hours.

    Raises:
        AudioError: nothing in it can be decoded, it ends before its header says, is longer than
            ``max_duration_s``, shorter than one patch (0.975 s), silent, or not finite.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    if stream.seek(0, io.SEEK_END) == 0:
        raise AudioError("audio_empty", "the file is empty: send a recording")
    if is_cut_off(stream):
        raise AudioError("audio_truncated", "the file is cut off before its end: send it whole")
    counts_frames = mp3_counts_frames(stream)
    stream.seek(0)
    try:
        with av.open(
            stream, mode="r", metadata_errors="replace", options={"format_whitelist": _DEMUXERS}
        ) as container:
            return _decode_container(container, counts_frames, rate_hz, max_duration_s)
    except (av.error.FFmpegError, EOFError) as error:
        raise AudioError(
            "audio_unreadable",
            "this is no recording that can be decoded: send mp3, ogg, opus, flac, wav, aiff, "
            "m4a, aac or webm",
        ) from error


def _decode_container(
    container: av.container.InputContainer,
    counts_frames: bool,
    rate_hz: int,
    max_duration_s: float,
) -> Recording:
    if not container.streams.audio:
        raise AudioError("audio_unreadable", "the file has no audio stream")
    track = container.streams.audio[0]
    if track.codec_context is None:
        raise AudioError("audio_unreadable", "nothing here can decode the codec of its sound")
    native_hz, channels = track.rate, track.channels
    if native_hz not in _NATIVE_RATES_HZ:
        raise AudioError("audio_unreadable", f"a sample rate of {native_hz} Hz cannot be used")
    if not 1 <= channels <= _MOST_CHANNELS:
        raise AudioError(
            "audio_unreadable", f"{channels} channels cannot be used: send 1 to {_MOST_CHANNELS}"
        )
    declared_s = _declared_duration_s(container, counts_frames)
    if declared_s is not None and declared_s > max_duration_s + 1:
        raise _too_long(max_duration_s)

    resampler = soxr.ResampleStream(native_hz, rate_hz, 1, dtype="float32", quality="HQ")
    native_samples = 0
    chunks: list[NDArray[np.float32]] = []
    for mono in _mono_blocks(container, track):
        native_samples += len(mono)
        if native_samples > max_duration_s * native_hz:
            raise _too_long(max_duration_s)
        chunks.append(resampler.resample_chunk(mono))
    chunks.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    waveform = np.concatenate(chunks)
    duration_s = native_samples / native_hz

    if native_samples == 0:
        raise AudioError("audio_unreadable", "no sample of the file could be decoded")
    _refuse_truncated(declared_s, duration_s)
    if len(waveform) < SHORTEST_AUDIO_SAMPLES * rate_hz // SAMPLE_RATE_HZ:
        raise AudioError(
            "audio_too_short",
            f"the recording lasts {duration_s:.3f} s, shorter than one patch of analysis: "
            "send at least 0.975 s",
        )
    if np.abs(waveform).max() < _SILENT_PEAK:
        raise AudioError(
            "audio_silent",
            "the recording is silent (the average of its channels stays below -80 dBFS)",
        )
    return Recording(waveform, duration_s, native_hz, channels, container.format.name, rate_hz)


def _mono_blocks(
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
            yield _averaged(waiting, channels)
            waiting, samples = [], 0
    if waiting:
        yield _averaged(waiting, channels)


def _float_values(plane: av.audio.plane.AudioPlane, count: int) -> NDArray[np.float32]:
    return np.frombuffer(memoryview(plane), np.float32, count)  # a plane is padded at its end


def _averaged(frames: list[list[NDArray[np.float32]]], channels: int) -> NDArray[np.float32]:
    """Average frames of one plane a channel, or of a single plane with the channels interleaved."""
    planes = [np.concatenate(parts) for parts in zip(*frames, strict=True)]
    if not all(np.abs(plane).max(initial=0.0) < _LOUDEST for plane in planes):
        raise AudioError(
            "audio_not_finite",
            "the samples hold NaN, infinite or absurdly large values: export it again",
        )
    samples = np.stack(planes, axis=1) if len(planes) > 1 else planes[0].reshape(-1, channels)
    # A product: numpy's mean over a short last axis takes ten times as long.
    mono: NDArray[np.float32] = samples @ np.full(channels, 1 / channels, np.float32)
    return mono


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


def _too_long(max_duration_s: float) -> AudioError:
    return AudioError(
        "audio_too_long", f"the recording is longer than {max_duration_s:,.0f} s: cut it shorter"
    )


def _refuse_truncated(declared_s: float | None, decoded_s: float) -> None:
    if declared_s is None:
        return
    if decoded_s < declared_s - max(_LOST_TAIL_S, _LOST_TAIL_SHARE * declared_s):
        raise AudioError(
            "audio_truncated",
            f"only {decoded_s:.1f} s of {declared_s:.1f} s could be decoded: the file is cut off "
            "or damaged, send it whole",
        )


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
