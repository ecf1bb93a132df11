"""Recordings made on the spot, in every container that is decoded, and files that lie."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""(samples,) or (samples, channels)."""


def sine(
    rate_hz: int, duration_s: float, *, frequency_hz: float = 440.0, amplitude: float = 0.5
) -> Samples:
    """Make a sine (samples,)."""
    times = np.arange(round(rate_hz * duration_s)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)


def noise(samples: int, *, seed: int = 0, amplitude: float = 0.1) -> Samples:
    """Make white noise (samples,)."""
    rng = np.random.default_rng(seed)
    return (amplitude * rng.standard_normal(samples)).astype(np.float32)


def sound_file(samples: NDArray[np.floating], rate_hz: int, kind: str, subtype: str) -> bytes:
    """Write (samples,) or (samples, channels) with libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def wav(samples: Samples, rate_hz: int = 16_000, subtype: str = "FLOAT") -> bytes:
    """Write a WAV file."""
    return sound_file(samples, rate_hz, "WAV", subtype)


def ffmpeg_file(
    samples: Samples,
    rate_hz: int,
    container: str,
    codec: str,
    *,
    options: dict[str, str] | None = None,
    attachment: bytes | None = None,
) -> bytes:
    """Write (samples,) or (samples, channels) with FFmpeg's muxer and encoder of these names."""
    planes = np.atleast_2d(samples.T)
    layout = "mono" if len(planes) == 1 else "stereo"
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        assert stream.codec.audio_formats
        stream.layout = layout
        if attachment is not None:
            output.add_attachment("cover.mp3", "audio/mpeg", attachment)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), "fltp", layout)
        frame.sample_rate = rate_hz
        frame.pts, frame.time_base = 0, Fraction(1, rate_hz)
        output.start_encoding()
        resampler = av.AudioResampler(
            stream.codec.audio_formats[-1].name,
            layout,
            rate_hz,
            frame_size=stream.codec_context.frame_size or None,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def quiet_hours(duration_s: int) -> bytes:
    """Write a FLAC of a click now and then: a small file that unfolds into hours."""
    clicks = np.zeros(8_000 * duration_s, np.int16)
    clicks[::80_000] = 1_000
    file = io.BytesIO()
    soundfile.write(file, clicks, 8_000, format="FLAC")
    return file.getvalue()


def flac_claiming(flac: bytes, samples: int) -> bytes:
    """Change how many samples a FLAC's STREAMINFO promises (36 bits; 0 says nothing)."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + struct.pack(">I", samples) + flac[26:]


def wav_claiming(file: bytes, riff_bytes: int, data_bytes: int) -> bytes:
    """Change what a WAV file's RIFF and data chunks promise."""
    data = file.index(b"data") + 4
    return (
        file[:4]
        + struct.pack("<I", riff_bytes)
        + file[8:data]
        + struct.pack("<I", data_bytes)
        + file[data + 4 :]
    )


def with_cover_art(mp3: bytes) -> bytes:
    """Put an ID3v2.3 tag with a picture (APIC) before an MP3."""
    picture = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
    body = b"\0image/jpeg\0\3front\0" + picture
    frame = b"APIC" + struct.pack(">I", len(body)) + bytes(2) + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frame + mp3


def quicktime_pointing_to(path: Path) -> bytes:
    """Write a QuickTime file whose samples lie in another file, by an alias with its path."""
    movie = ffmpeg_file(sine(48_000, 2.0), 48_000, "mov", "pcm_s16le")
    place = movie.index(b"dref") - 4
    volume, target = b"disk", b"disk" + str(path).replace("/", ":").encode()
    alias = (
        bytes(10)
        + bytes([len(volume)])
        + volume.ljust(27, b"\0")
        + bytes(12)
        + bytes([len(path.name)])
        + path.name.encode().ljust(63, b"\0")
        + bytes(16)
        + struct.pack(">HH", 1, 1)
        + bytes(16)
        + struct.pack(">HH", 2, len(target))
        + target.ljust(len(target) + len(target) % 2, b"\0")
        + b"\xff\xff\0\0"
    )
    entry = struct.pack(">I", 12 + len(alias)) + b"alis" + bytes(4) + alias
    reference = struct.pack(">I", 16 + len(entry)) + b"dref" + bytes(4) + b"\0\0\0\1" + entry
    grown = bytearray(movie[:place] + reference + movie[place + 28 :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        at = grown.rindex(parent, 0, place) - 4
        (size,) = struct.unpack_from(">I", grown, at)
        struct.pack_into(">I", grown, at, size + len(reference) - 28)
    return bytes(grown)


class Tripwire:
    """A named pipe that tells whether anything in this process opened it to read.

    Who opens a pipe blocks until somebody writes: a thread asks again and again whether a reader
    waits there, and lets it go with an empty answer.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.opened = False
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Tripwire:
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.is_set():
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
                self.opened = True
            except OSError:  # nobody reads
                time.sleep(0.001)
