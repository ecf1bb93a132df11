"""What the framing of an audio file says of its length, where FFmpeg's own answer cannot tell.

FFmpeg takes the length of an Ogg or WAV file from the bytes that are there, so a file cut in half
decodes to half without an error; an MP3 without a frame count gets its length guessed.
"""

from __future__ import annotations

import io
from typing import BinaryIO

from models.mp3_frames import ends_within_frame, id3_bytes

_OGG_PAGE = b"OggS\0"  # with the version: packets may hold the four letters by chance
_OGG_LARGEST_PAGE_BYTES = 27 + 255 + 255 * 255
_OGG_END_OF_STREAM = 0x04
_RIFF_UNKNOWN_SIZE_BYTES = 0x7FFF_0000  # what is written to a pipe announces about 2 or 4 GiB
_MP3_FIRST_FRAME_BYTES = 4_096


def is_cut_off(stream: BinaryIO) -> bool:
    """Tell whether an Ogg, WAV or MP3 file ends before its framing says; else False.

    An MP3 with a frame count is left to the comparison of durations, which forgives a lost frame.
    """
    size_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    magic = stream.read(8)
    if magic.startswith(b"OggS"):
        stream.seek(max(size_bytes - 2 * _OGG_LARGEST_PAGE_BYTES, 0))
        return not _last_ogg_page_ends_stream(stream.read())
    if magic.startswith(b"RIFF") and len(magic) == 8:
        announced_bytes = int.from_bytes(magic[4:], "little") + 8
        return size_bytes + 1 < announced_bytes < _RIFF_UNKNOWN_SIZE_BYTES
    return not mp3_counts_frames(stream) and ends_within_frame(stream)


def _last_ogg_page_ends_stream(tail: bytes) -> bool:
    """Read the last page header of RFC 3533, section 6: whole, and flagged as the stream's end."""
    header = tail.rfind(_OGG_PAGE)
    page = tail[header:]
    if header < 0 or len(page) < 27:
        return False
    segments = page[26]
    page_bytes = 27 + segments + sum(page[27 : 27 + segments])
    return bool(page[5] & _OGG_END_OF_STREAM) and len(page) >= page_bytes


def mp3_counts_frames(stream: BinaryIO) -> bool:
    """Tell whether an MP3's first frame carries a Xing, Info or VBRI header with a frame count."""
    stream.seek(id3_bytes(stream))
    first_frame = stream.read(_MP3_FIRST_FRAME_BYTES)
    return any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))
