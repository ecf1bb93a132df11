"""What a file's framing says of its end, byte by byte."""

from __future__ import annotations

import io

import pytest

from models.framing import is_cut_off, mp3_counts_frames
from tests.models.sounds import ffmpeg_file, noise, sine, sound_file, wav, with_cover_art


@pytest.fixture(scope="module")
def vorbis() -> bytes:
    return sound_file(noise(40_000), 16_000, "OGG", "VORBIS")


@pytest.fixture(scope="module")
def mp3() -> bytes:
    return sound_file(sine(44_100, 1.5), 44_100, "MP3", "MPEG_LAYER_III")


def cut(file: bytes, missing: int) -> bool:
    return is_cut_off(io.BytesIO(file[: len(file) - missing]))


class TestOgg:
    @pytest.mark.parametrize("missing", [1, 10, 200, 3_000])
    def test_every_missing_byte_is_seen(self, vorbis: bytes, missing: int) -> None:
        assert not cut(vorbis, 0)
        assert cut(vorbis, missing)

    def test_a_cut_between_pages_is_seen(self, vorbis: bytes) -> None:
        assert cut(vorbis, len(vorbis) - vorbis.rindex(b"OggS"))

    def test_only_the_first_bytes(self) -> None:
        for length in range(4, 30):
            assert is_cut_off(io.BytesIO(b"OggS".ljust(length, b"\0")))

    def test_a_page_magic_in_the_last_packet_is_not_the_last_page(self) -> None:
        """Packets may hold any bytes, the four letters of a page too."""
        body = b"....OggSound" + bytes(40)
        header = b"OggS\0\4" + bytes(20) + bytes([1, len(body)])
        assert not is_cut_off(io.BytesIO(header + body))


class TestWav:
    @pytest.mark.parametrize(("missing", "expected"), [(0, False), (2, True), (1_000, True)])
    def test_is_measured_against_its_riff_size(self, missing: int, expected: bool) -> None:
        assert cut(wav(noise(2_000), subtype="PCM_16"), missing) == expected

    def test_a_missing_padding_byte_is_nothing(self) -> None:
        file = wav(noise(2_001), subtype="PCM_U8")
        size = int.from_bytes(file[4:8], "little") + 8
        assert not is_cut_off(io.BytesIO(file[: size - 1]))

    @pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x8000_0024])
    def test_a_pipes_size_says_nothing(self, size: int) -> None:
        file = wav(noise(2_000))
        assert not is_cut_off(io.BytesIO(file[:4] + size.to_bytes(4, "little") + file[8:]))

    @pytest.mark.parametrize("length", [4, 7])
    def test_less_than_a_header_is_left_to_the_decoder(self, length: int) -> None:
        assert not is_cut_off(io.BytesIO(wav(noise(100))[:length]))


@pytest.mark.parametrize("file", [b"", b"x", b"fLaC" + bytes(50), b"OggX" + bytes(50)])
def test_other_formats_are_not_judged(file: bytes) -> None:
    assert not is_cut_off(io.BytesIO(file))


class TestMP3:
    def test_a_xing_or_info_header_counts_frames(self, mp3: bytes) -> None:
        assert mp3_counts_frames(io.BytesIO(mp3))

    def test_behind_an_id3_tag(self, mp3: bytes) -> None:
        tagged = with_cover_art(mp3)
        assert len(tagged) > len(mp3) + 10_000
        assert mp3_counts_frames(io.BytesIO(tagged))

    def test_without_one_nothing_is_counted(self) -> None:
        file = ffmpeg_file(
            sine(44_100, 1.5), 44_100, "mp3", "libmp3lame", options={"write_xing": "0"}
        )
        assert not mp3_counts_frames(io.BytesIO(file))

    @pytest.mark.parametrize("file", [b"", b"ID3", b"ID3\4\0\0\x7f\x7f\x7f\x7f", bytes(9_000)])
    def test_nothing_to_find(self, file: bytes) -> None:
        assert not mp3_counts_frames(io.BytesIO(file))
