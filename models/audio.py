"""Untrusted bytes in, a mono waveform out: the one audio path of training and service.

FFmpeg decodes at the native rate, or mpg123 where an MP3 has no flaw that they could judge
differently, and soxr resamples: FFmpeg's own resampler, as PyAV configures it, aliases audibly.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO, Self

import numpy as np
import soxr
from numpy.typing import NDArray

from models.ffmpeg_decoding import opened_by_ffmpeg
from models.framing import is_cut_off
from models.mp3_decoding import UndecidedError, opened_by_mpg123
from models.mp3_flawless import flawless_frames
from models.sound import AudioError, AudioFault, Sound

__all__ = ["AudioError", "AudioFault", "Recording", "decode"]

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

_SILENT_PEAK = 1e-4  # -80 dBFS
_LOST_TAIL_S = 0.5
_LOST_TAIL_SHARE = 0.01


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

    def without_samples(self) -> Self:
        """Return what is known of it but its waveform: an hour's is 230 MB."""
        return replace(self, waveform=self.waveform[:0].copy())


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
    frames = flawless_frames(stream)
    if frames is not None:
        # Where it is undecided, FFmpeg has the last word.
        with suppress(UndecidedError), opened_by_mpg123(stream, frames) as sound:
            return _listened(sound, rate_hz, max_duration_s)
    with opened_by_ffmpeg(stream) as sound:
        return _listened(sound, rate_hz, max_duration_s)


def _listened(sound: Sound, rate_hz: int, max_duration_s: float) -> Recording:
    if sound.declared_s is not None and sound.declared_s > max_duration_s + 1:
        raise _too_long(max_duration_s)
    resampler = soxr.ResampleStream(sound.rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
    native_samples = 0
    chunks: list[NDArray[np.float32]] = []
    for mono in sound.blocks:
        native_samples += len(mono)
        if native_samples > max_duration_s * sound.rate_hz:
            raise _too_long(max_duration_s)
        chunks.append(resampler.resample_chunk(mono))
    chunks.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    waveform = np.concatenate(chunks)
    duration_s = native_samples / sound.rate_hz

    if native_samples == 0:
        raise AudioError("audio_unreadable", "no sample of the file could be decoded")
    _refuse_truncated(sound.declared_s, duration_s)
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
    return Recording(waveform, duration_s, sound.rate_hz, sound.channels, sound.format, rate_hz)


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
