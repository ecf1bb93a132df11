"""Where the frames of an MP3 end: the one sign of a cut that a file without a frame count gives.

ISO/IEC 11172-3 and 13818-3, Layer III: four header bytes give a frame's length, so that the frames
of a file are a chain, and the chain of a file that was cut off runs past the end of the bytes.
"""

from __future__ import annotations

import io
from typing import BinaryIO

_TAIL_BYTES = 1 << 16
_CHAINED_FRAMES = 4  # so many headers in step are no chance
_HEADER_BYTES = 4
MPEG_1, _MPEG_2, _MPEG_2_5 = 3, 2, 0
_LAYER_III = 1
RATES_HZ = {
    MPEG_1: (44_100, 48_000, 32_000),
    _MPEG_2: (22_050, 24_000, 16_000),
    _MPEG_2_5: (11_025, 12_000, 8_000),
}
MPEG_1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def id3_bytes(stream: BinaryIO) -> int:
    """Return the length of the ID3v2 tag that a file begins with, 0 where there is none."""
    stream.seek(0)
    header = stream.read(10)
    if not header.startswith(b"ID3") or len(header) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))


def ends_within_frame(stream: BinaryIO) -> bool:
    """Tell whether a file of Layer III frames ends inside one; False for whatever else it is.

    What follows the last frame (ID3v1, APE or Lyrics tags, padding) does not matter.
    """
    stream.seek(id3_bytes(stream))
    if _frame_bytes(stream.read(_HEADER_BYTES)) is None:
        return False
    size_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(max(size_bytes - _TAIL_BYTES, 0))
    tail = stream.read()
    for start in range(len(tail)):
        if tail[start] == 0xFF:
            frames, end = _follow(tail, start)
            if frames >= _CHAINED_FRAMES:
                return end > len(tail)
    return False


def _follow(tail: bytes, start: int) -> tuple[int, int]:
    """Follow the chain of frames from ``start``; returns how many there are and where they end."""
    frames, end = 0, start
    while (length := _frame_bytes(tail[end : end + _HEADER_BYTES])) is not None:
        frames, end = frames + 1, end + length
    return frames, end


def _frame_bytes(header: bytes) -> int | None:
    """Return the length of the frame that four bytes head, None where they are no header."""
    if len(header) < _HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    rate_index, bitrate_index, padding = header[2] >> 2 & 3, header[2] >> 4, header[2] >> 1 & 1
    if version not in RATES_HZ or layer != _LAYER_III or rate_index == 3:
        return None
    if not 1 <= bitrate_index <= 14:
        return None
    kbps = (MPEG_1_KBPS if version == MPEG_1 else _MPEG_2_KBPS)[bitrate_index - 1]
    eighth_of_samples = 144 if version == MPEG_1 else 72
    return eighth_of_samples * kbps * 1_000 // RATES_HZ[version][rate_index] + padding
