"""Cut MP3s are told from whole ones by where their frames end."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from models.audio import AudioError, decode
from models.mp3_frames import ends_within_frame


def _frames(count: int) -> bytes:
    """Write MPEG-1 Layer III frames of 128 kbit/s at 44.1 kHz, without padding: 417 bytes each."""
    return (bytes([0xFF, 0xFB, 0x90, 0x00]) + bytes(413)) * count


@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(40), bytes(999)])
@pytest.mark.parametrize("tag", [b"", b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)])
def test_whole_frames_are_whole_whatever_surrounds_them(tag: bytes, tail: bytes) -> None:
    assert not ends_within_frame(io.BytesIO(tag + _frames(300) + tail))


@pytest.mark.parametrize("missing", [1, 100, 413])
def test_a_frame_that_is_not_whole_is_seen(missing: int) -> None:
    file = _frames(300)
    assert ends_within_frame(io.BytesIO(file[: len(file) - missing]))


@pytest.mark.parametrize("file", [b"", b"ID3", b"fLaC" + bytes(5000), b"\xff\xf1" * 2000])
def test_other_files_are_left_alone(file: bytes) -> None:
    assert not ends_within_frame(io.BytesIO(file))


def test_real_recordings_are_whole_and_cut_ones_are_refused(shared_data: Path) -> None:
    files = [
        *sorted((shared_data / "recordings").glob("*.mp3")),
        *sorted((shared_data / "deam" / "audio").glob("*.mp3")),
    ]
    assert len(files) == 53
    rng = np.random.default_rng(0)
    for path in files:
        whole = path.read_bytes()
        assert not ends_within_frame(io.BytesIO(whole)), path.name
        cut = whole[: int(len(whole) * rng.uniform(0.2, 0.9))]
        if path.parent.name == "recordings":
            assert ends_within_frame(io.BytesIO(cut)), path.name


@pytest.mark.parametrize("share", [0.1, 0.4, 0.77])
def test_a_cut_real_recording_is_refused(real_recording: Path, share: float) -> None:
    whole = real_recording.read_bytes()
    with pytest.raises(AudioError) as refused:
        decode(whole[: int(share * len(whole))])
    assert refused.value.code == "audio_truncated"
