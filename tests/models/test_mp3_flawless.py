"""MP3s in which nothing is missing and nothing contradicts itself are told from all others."""

from __future__ import annotations

import io

import pytest

from models.mp3_flawless import Mp3Frames, flawless_frames

HEADER = bytes([0xFF, 0xFB, 0x90, 0x00])
"""MPEG-1, Layer III, 128 kbit/s at 44.1 kHz, stereo, no padding: 417 bytes."""


def frames(count: int) -> bytes:
    return (HEADER + bytes(413)) * count


def with_side_info(fields: list[tuple[int, int, int]]) -> bytes:
    """Write a stereo frame whose side information holds values (first bit, bits, value)."""
    side = 0
    for first, bits, value in fields:
        side |= value << (256 - first - bits)
    return HEADER + side.to_bytes(32, "big") + bytes(381)


FLAWLESS = Mp3Frames(count=300, rate_hz=44_100, channels=2)


@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125)])
@pytest.mark.parametrize("tag", [b"", b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)])
def test_frames_are_counted_between_tags(tag: bytes, tail: bytes) -> None:
    assert flawless_frames(io.BytesIO(tag + frames(300) + tail)) == FLAWLESS


def test_one_channel_and_other_rates() -> None:
    mono = bytes([0xFF, 0xFB, 0x98, 0xC0]) + bytes(572)  # 128 kbit/s at 32 kHz
    assert flawless_frames(io.BytesIO(mono * 7)) == Mp3Frames(7, 32_000, 1)
    checked = bytes([0xFF, 0xFA, 0x94, 0x00]) + bytes(380)  # 48 kHz, with a checksum
    assert flawless_frames(io.BytesIO(checked * 7)) == Mp3Frames(7, 48_000, 2)


def test_files_larger_than_what_is_read_at_once() -> None:
    many = 3 * (1 << 20) // 417
    assert flawless_frames(io.BytesIO(frames(many))) == Mp3Frames(many, 44_100, 2)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\xff\xfb",
        b"fLaC" + bytes(5_000),
        b"x" + frames(300),
        frames(300) + bytes(999),
        frames(300) + b"APETAGEX" + bytes(120),
        frames(300)[:-1],
        frames(100) + b"x" + frames(200),
        frames(300) + b"\xff\xfb\x94\x00" + bytes(380),  # 48 kHz
        frames(300) + b"\xff\xfb\x90\xc0" + bytes(413),  # one channel
        (bytes([0xFF, 0xF3, 0x80, 0xC0]) + bytes(204)) * 30,  # MPEG-2
        (bytes([0xFF, 0xFD, 0x90, 0x00]) + bytes(413)) * 30,  # Layer II
        (bytes([0xFF, 0xFB, 0x9C, 0x00]) + bytes(413)) * 30,  # no such rate
        frames(9).replace(HEADER, HEADER[:2] + b"\x00\x00"),  # free format
    ],
)
def test_anything_else_is_none(file: bytes) -> None:
    assert flawless_frames(io.BytesIO(file)) is None


@pytest.mark.parametrize(
    ("place", "fields", "flawless"),
    [
        (0, [(0, 9, 1)], False),  # begins in a frame before the first
        (5, [(0, 9, 1)], True),
        (5, [(0, 9, 381)], True),
        (1, [(0, 9, 382)], False),  # the frame before has 381 bytes
        (5, [(20, 12, 8 * 381)], True),
        (5, [(20, 12, 8 * 381 + 1)], False),  # more bits than there are
        (5, [(0, 9, 1), (20, 12, 8 * 382)], True),
        (5, [(20, 12, 1_500), (79, 12, 1_500), (138, 12, 48), (197, 12, 1)], False),
        (5, [(32, 9, 288)], True),
        (5, [(32, 9, 289)], False),
        (5, [(197 + 33, 1, 1), (197 + 34, 2, 2)], True),
        (5, [(197 + 33, 1, 1)], False),  # windows are switched to none
    ],
)
def test_what_frames_say_of_themselves(
    place: int, fields: list[tuple[int, int, int]], flawless: bool
) -> None:
    file = frames(place) + with_side_info(fields) + frames(299 - place)
    assert flawless_frames(io.BytesIO(file)) == (FLAWLESS if flawless else None)


def test_bits_that_are_used_cannot_be_lent() -> None:
    spent = with_side_info([(20, 12, 8 * 300)])
    for lent, flawless in ((81, True), (82, False)):
        file = frames(1) + spent + with_side_info([(0, 9, lent)]) + frames(297)
        # What the first frame lends, 381 bytes, was before the spent one's own.
        assert (flawless_frames(io.BytesIO(file)) == FLAWLESS) is flawless


@pytest.mark.parametrize(
    ("counted", "flawless"), [(300, True), (299, False), (301, False), (None, False)]
)
@pytest.mark.parametrize("name", [b"Xing", b"Info"])
def test_a_count_must_agree(name: bytes, counted: int | None, flawless: bool) -> None:
    header = name + bytes([0, 0, 0, counted is not None]) + (counted or 0).to_bytes(4, "big")
    first = (HEADER + bytes(32) + header).ljust(417, b"\0")
    found = flawless_frames(io.BytesIO(first + frames(300)))
    assert found == (FLAWLESS if flawless else None)


def test_another_description_is_left_alone() -> None:
    first = (HEADER + bytes(32) + b"VBRI").ljust(417, b"\0")
    assert flawless_frames(io.BytesIO(first + frames(300))) is None
