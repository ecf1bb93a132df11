"""mpg123 gives what FFmpeg gives, and leaves it to FFmpeg where they might differ."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models import audio
from models.audio import Recording, decode
from models.mp3_decoding import UndecidedError, opened_by_mpg123
from models.mp3_flawless import Mp3Frames, flawless_frames
from tests.models.sounds import ffmpeg_file, noise, sine, sound_file


def by_ffmpeg(file: bytes) -> Recording:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio, "flawless_frames", lambda _: None)
        return decode(file)


def is_flawless(file: bytes) -> bool:
    return flawless_frames(io.BytesIO(file)) is not None


def assert_same(found: Recording, expected: Recording) -> None:
    assert found.waveform.shape == expected.waveform.shape
    assert np.abs(found.waveform - expected.waveform).max() < 1e-5
    assert (found.duration_s, found.sample_rate_hz, found.channels, found.format) == (
        expected.duration_s,
        expected.sample_rate_hz,
        expected.channels,
        expected.format,
    )


def test_real_recordings(shared_data: Path) -> None:
    files = [path.read_bytes() for path in sorted((shared_data / "recordings").glob("*.mp3"))[::4]]
    whole = [file for file in files if is_flawless(file)]
    assert len(whole) == len(files) == 12
    for file in whole:
        assert_same(decode(file), by_ffmpeg(file))


def test_clips_whose_first_frame_is_lame_are_left_to_ffmpeg(shared_data: Path) -> None:
    """DEAM's were cut out of songs: bits of a frame before the first are missing."""
    for path in sorted((shared_data / "deam" / "audio").glob("*.mp3")):
        file = path.read_bytes()
        assert not is_flawless(file)
        assert decode(file).waveform.tobytes() == by_ffmpeg(file).waveform.tobytes()


@pytest.mark.parametrize("rate_hz", [32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("coder", ["libsndfile", "FFmpeg"])
def test_any_rate_of_mpeg_1(rate_hz: int, channels: int, coder: str) -> None:
    left = sine(rate_hz, 2.5) + noise(round(2.5 * rate_hz), amplitude=0.05)
    samples = np.stack([left, 0.5 * left], axis=1) if channels == 2 else left
    if coder == "FFmpeg":
        file = ffmpeg_file(samples, rate_hz, "mp3", "libmp3lame")
    else:
        file = sound_file(samples, rate_hz, "MP3", "MPEG_LAYER_III")
    assert is_flawless(file)
    assert_same(decode(file), by_ffmpeg(file))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050])
def test_lower_rates_are_left_to_ffmpeg(rate_hz: int) -> None:
    """The two do not agree on a frame of MPEG-2 here and there."""
    assert not is_flawless(sound_file(sine(rate_hz, 2.5), rate_hz, "MP3", "MPEG_LAYER_III"))


def test_what_mpg123_refuses_goes_to_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    file = sound_file(sine(44_100, 3.0), 44_100, "MP3", "MPEG_LAYER_III")
    assert is_flawless(file)
    expected = by_ffmpeg(file)

    def refuse(*_: object, **__: object) -> None:
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(soundfile.SoundFile, "read", refuse)
    assert decode(file).waveform.tobytes() == expected.waveform.tobytes()


def test_less_than_the_frames_promise_is_undecided() -> None:
    file = sound_file(sine(44_100, 3.0), 44_100, "MP3", "MPEG_LAYER_III")
    frames = flawless_frames(io.BytesIO(file))
    assert frames is not None

    def heard(frames: Mp3Frames) -> Iterator[int]:
        with opened_by_mpg123(io.BytesIO(file), frames) as sound:
            yield from (len(block) for block in sound.blocks)

    assert sum(heard(frames)) == 3 * 44_100
    for other in (
        Mp3Frames(frames.count + 5, 44_100, 1),
        Mp3Frames(frames.count - 5, 44_100, 1),
        Mp3Frames(frames.count, 48_000, 1),
        Mp3Frames(frames.count, 44_100, 2),
    ):
        with pytest.raises(UndecidedError):
            list(heard(other))
