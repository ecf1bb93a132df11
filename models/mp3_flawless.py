"""Whether an MP3 lacks nothing and contradicts itself nowhere, so that decoders agree on it.

ISO/IEC 11172-3, Layer III: four header bytes give a frame's length and kind; the side information
behind them says how many bits each part of it has, and how many of those lie in frames before it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numba
import numpy as np
from numba import types

from models.compiled import COMPILATION
from models.mp3_frames import MPEG_1, MPEG_1_KBPS, RATES_HZ, id3_bytes

SAMPLES_PER_FRAME = 1_152

_KBPS = np.array([0, *MPEG_1_KBPS, 0], np.int64)
_HELD_BYTES = 1 << 20
_FIRST_FRAME_BYTES = 4_096
_COUNT_NAMES = (b"Xing", b"Info")
_ID3V1_BYTES = 128


@dataclass(frozen=True)
class Mp3Frames:
    """Frames of MPEG-1 that follow each other from a file's beginning to its end, of one kind."""

    count: int
    rate_hz: int
    channels: int


def flawless_frames(stream: BinaryIO) -> Mp3Frames | None:
    """Return the frames of an MP3 that has no flaw; None for whatever else the file is.

    Nothing but tags stands before and behind them, none refers to bits that are not there, and a
    header that counts them agrees.
    """
    begin = id3_bytes(stream)
    stream.seek(begin)
    first = stream.read(_FIRST_FRAME_BYTES)
    if len(first) < _FIRST_FRAME_BYTES // 4 or first[2] >> 2 & 3 == 3:
        return None
    counted = _counted(first)
    state = np.array([0, begin, 0, counted is not None], np.int64)
    size_bytes = stream.seek(0, io.SEEK_END)
    kind = np.frombuffer(first[:4], np.uint8)
    rate_hz = RATES_HZ[MPEG_1][first[2] >> 2 & 3]
    while True:
        stream.seek(int(state[1]))
        held = np.frombuffer(stream.read(_HELD_BYTES), np.uint8)
        before = int(state[1])
        if not follow_frames(held, kind, rate_hz, _KBPS, state):
            return None
        if state[1] == before:
            break
    count, end = int(state[0]), int(state[1])
    stream.seek(end)
    if end != size_bytes and not (size_bytes - end == _ID3V1_BYTES and stream.read(3) == b"TAG"):
        return None
    if counted is not None and counted != count - 1:  # less the frame that holds the number
        return None
    channels = 1 if first[3] >> 6 == 3 else 2
    audible = count if counted is None else counted
    return Mp3Frames(audible, rate_hz, channels)


def _counted(first: bytes) -> int | None:
    """Return how many frames the first one says that there are, None where it says nothing.

    -1 where it holds another description of the file.
    """
    if b"VBRI" in first:
        return -1
    for name in _COUNT_NAMES:
        place = first.find(name)
        if place >= 0:
            says_so = int.from_bytes(first[place + 4 : place + 8], "big") & 1
            return int.from_bytes(first[place + 8 : place + 12], "big") if says_so else -1
    return None


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def _bits(held: Any, at: int, first: int, count: int) -> int:
    """Read ``count`` bits, big end first, from the ``first`` one behind a byte on."""
    value = 0
    for bit in range(first, first + count):
        value = value << 1 | (held[at + (bit >> 3)] >> (7 - (bit & 7)) & 1)
    return value


_BYTES = types.Array(types.uint8, 1, "C", readonly=True)


# With its types, so that it is compiled before the first upload comes.
@numba.njit(
    types.boolean(_BYTES, _BYTES, types.int64, types.int64[::1], types.int64[::1]),
    **COMPILATION,
)
def follow_frames(held: Any, kind: Any, rate_hz: int, kbps: Any, state: Any) -> bool:
    """Follow frames of the kind of a header (4,) through bytes; tells whether none had a flaw.

    ``state`` is brought up to date: how many frames there were, where the next begins in the file,
    how many bytes of those before it may be referred to, and whether the next one is to be skipped.
    It ends before what is no frame of that kind, or goes beyond the bytes.
    """
    if kind[0] != 0xFF or kind[1] & 0xFE != 0xFA:
        return False
    mono = kind[3] >> 6 == 3
    channels = 1 if mono else 2
    check = 0 if kind[1] & 1 else 2
    side_bytes = 17 if mono else 32
    at = 0
    while at + 4 + check + side_bytes <= len(held):
        bitrate_kbps = kbps[held[at + 2] >> 4]
        same = (
            held[at] == 0xFF
            and held[at + 1] == kind[1]
            and held[at + 2] & 0x0C == kind[2] & 0x0C
            and (held[at + 3] >> 6 == 3) == mono
            and bitrate_kbps > 0
        )
        length = 144_000 * bitrate_kbps // rate_hz + (held[at + 2] >> 1 & 1)
        if not same or at + length > len(held):
            break
        side = at + 4 + check
        main_bytes = length - 4 - check - side_bytes
        if state[3]:
            state[3] = 0
        else:
            lent = _bits(held, side, 0, 9)
            if lent > state[2] or main_bytes < 0:
                return False
            needed, first = 0, 18 if mono else 20
            for part in range(2 * channels):
                bit = first + 59 * part
                needed += _bits(held, side, bit, 12)
                switched, block = _bits(held, side, bit + 33, 1), _bits(held, side, bit + 34, 2)
                if _bits(held, side, bit + 12, 9) > 288 or (switched and block == 0):
                    return False
            if needed > 8 * (lent + main_bytes):
                return False
            state[2] = min(lent + main_bytes - needed // 8, 511)
        state[0] += 1
        state[1] += length
        at += length
    return True
