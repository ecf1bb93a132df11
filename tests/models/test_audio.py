"""Decoding: every format a listener has, and every file that wishes the decoder ill."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import ffmpeg_decoding
from models.audio import AUDIO_SUFFIXES, SHORTEST_AUDIO_SAMPLES, AudioError, Recording, decode
from models.sound import averaged
from tests.conftest import REPOSITORY
from tests.models.sounds import (
    Samples,
    Tripwire,
    ffmpeg_file,
    flac_claiming,
    noise,
    quicktime_pointing_to,
    quiet_hours,
    sine,
    sound_file,
    wav,
    wav_claiming,
    with_cover_art,
)

STEREO_S = 3.0


def stereo_sine(rate_hz: int) -> Samples:
    """Make a 440 Hz sine, twice as loud on the left: their mean has amplitude 0.45."""
    left = sine(rate_hz, STEREO_S, amplitude=0.6)
    return np.stack([left, left / 2], axis=1)


@cache
def encoded(name: str) -> bytes:
    """Encode :func:`stereo_sine` as one of :data:`ENCODINGS`."""
    writer, rate_hz, container, codec = ENCODINGS[name]
    return writer(stereo_sine(rate_hz), rate_hz, container, codec)


ENCODINGS: dict[str, tuple[Callable[[Samples, int, str, str], bytes], int, str, str]] = {
    "mp3": (sound_file, 44_100, "MP3", "MPEG_LAYER_III"),
    "mp3 of FFmpeg": (ffmpeg_file, 32_000, "mp3", "libmp3lame"),
    "ogg vorbis": (sound_file, 44_100, "OGG", "VORBIS"),
    "opus": (sound_file, 48_000, "OGG", "OPUS"),
    "opus of FFmpeg": (ffmpeg_file, 48_000, "ogg", "libopus"),
    "flac": (sound_file, 44_100, "FLAC", "PCM_16"),
    "flac 24 bit": (sound_file, 96_000, "FLAC", "PCM_24"),
    "wav": (sound_file, 44_100, "WAV", "PCM_16"),
    "wav 8 bit": (sound_file, 22_050, "WAV", "PCM_U8"),
    "wav 24 bit": (sound_file, 48_000, "WAV", "PCM_24"),
    "wav float": (sound_file, 16_000, "WAV", "FLOAT"),
    "wav extensible": (sound_file, 44_100, "WAVEX", "PCM_16"),
    "wav rf64": (sound_file, 44_100, "RF64", "PCM_16"),
    "aiff": (sound_file, 44_100, "AIFF", "PCM_16"),
    "aiff float": (sound_file, 44_100, "AIFF", "FLOAT"),
    "m4a": (ffmpeg_file, 44_100, "ipod", "aac"),
    "mp4": (ffmpeg_file, 48_000, "mp4", "aac"),
    "aac": (ffmpeg_file, 44_100, "adts", "aac"),
    "webm": (ffmpeg_file, 48_000, "webm", "libopus"),
    "mka": (ffmpeg_file, 44_100, "matroska", "aac"),
}

FORMAT_NAMES = {
    "mp3": "mp3",
    "ogg": "ogg",
    "opus": "ogg",
    "flac": "flac",
    "wav": "wav",
    "aiff": "aiff",
    "m4a": "mov,mp4,m4a,3gp,3g2,mj2",
    "mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    "aac": "aac",
    "webm": "matroska,webm",
    "mka": "matroska,webm",
}


def refusal(file: bytes) -> str:
    """Return the code with which a file is refused, or ``decoded``."""
    try:
        decode(file)
    except AudioError as error:
        return error.code
    return "decoded"


def steady(recording: Recording) -> Samples:
    """Return one second from the middle."""
    middle = len(recording.waveform) // 2
    return recording.waveform[middle - 8_000 : middle + 8_000]


def spectrum(second: Samples) -> NDArray[np.float64]:
    """Return the amplitude of each whole frequency in a second at 16 kHz."""
    window = np.hanning(len(second))
    amplitudes: NDArray[np.float64] = np.abs(np.fft.rfft(second * window)) / window.sum() * 2
    return amplitudes


class TestFormats:
    @pytest.mark.parametrize("name", ENCODINGS)
    def test_sine_keeps_length_pitch_and_level(self, name: str) -> None:
        recording = decode(encoded(name))

        assert recording.sample_rate_hz == ENCODINGS[name][1]
        assert recording.channels == 2
        assert recording.format == FORMAT_NAMES[name.split()[0]]
        assert recording.duration_s == pytest.approx(STEREO_S, abs=0.06)
        assert len(recording.waveform) == pytest.approx(16_000 * recording.duration_s, abs=2)
        assert recording.waveform.dtype == np.float32
        amplitudes = spectrum(steady(recording))
        assert np.argmax(amplitudes) == 440
        assert amplitudes[440] == pytest.approx(0.45, rel=0.06)  # LAME itself takes 5 % off

    def test_every_suffix_that_is_searched_for_has_a_format_here(self) -> None:
        spelled = {".oga": "ogg", ".aif": "aiff"}
        assert {spelled.get(suffix, suffix[1:]) for suffix in AUDIO_SUFFIXES} == set(FORMAT_NAMES)

    def test_lossless_mono_at_16_khz_passes_unchanged(self) -> None:
        samples = noise(20_000)
        assert np.array_equal(decode(wav(samples)).waveform, samples)

    def test_stereo_becomes_the_mean_of_its_channels(self) -> None:
        left, right = noise(20_000, seed=1), noise(20_000, seed=2)
        waveform = decode(wav(np.stack([left, right], axis=1))).waveform
        assert np.abs(waveform - (left + right) / 2).max() < 1e-7

    @pytest.mark.parametrize("name", ["mp3", "ogg vorbis", "opus", "mp3 of FFmpeg"])
    def test_planes_read_directly_are_what_ffmpegs_filters_give(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        direct = decode(encoded(name))
        monkeypatch.setattr(ffmpeg_decoding, "_PLANES_READ", 0)
        filtered = decode(encoded(name))
        assert direct.waveform.tobytes() == filtered.waveform.tobytes()
        assert direct.duration_s == filtered.duration_s

    @pytest.mark.parametrize("channels", [3, 7, 8, 9, 32, 64])
    def test_many_channels_become_their_mean(self, channels: int) -> None:
        # From eight on, PyAV's planar arrays used to crash the process.
        samples = noise(16_000 * channels).reshape(-1, channels)
        recording = decode(wav(samples))
        assert recording.channels == channels
        assert np.abs(recording.waveform - samples.mean(axis=1)).max() < 1e-6

    def test_eight_channels_of_flac(self) -> None:
        file = sound_file(np.tile(sine(48_000, 2.0)[:, None], 8), 48_000, "FLAC", "PCM_16")
        assert spectrum(steady(decode(file)))[440] == pytest.approx(0.5, rel=0.01)

    def test_more_channels_than_can_be_mixed_are_refused(self) -> None:
        with pytest.raises(AudioError, match="65 channels") as refused:
            decode(wav(noise(16_000 * 65).reshape(-1, 65)))
        assert refused.value.code == "audio_unreadable"

    @pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 37_800, 96_000, 192_000])
    def test_any_rate_is_brought_to_16_khz(self, rate_hz: int) -> None:
        recording = decode(wav(sine(rate_hz, 2.0), rate_hz))
        assert recording.duration_s == 2.0
        assert abs(len(recording.waveform) - 32_000) <= 1
        amplitudes = spectrum(steady(recording))
        assert np.argmax(amplitudes) == 440
        assert amplitudes[440] == pytest.approx(0.5, rel=0.001)

    @pytest.mark.parametrize("native_hz", [22_050, 44_100, 48_000])
    def test_any_rate_is_brought_to_the_rate_asked_for(self, native_hz: int) -> None:
        samples = sine(native_hz, 2.0, frequency_hz=9_000.0)
        recording = decode(wav(samples, native_hz), rate_hz=44_100)
        assert (recording.sample_rate_hz, recording.waveform_rate_hz) == (native_hz, 44_100)
        assert recording.duration_s == 2.0
        assert abs(len(recording.waveform) - 88_200) <= 1
        middle = recording.waveform[22_050:66_150]
        amplitudes = 2 * np.abs(np.fft.rfft(middle)) / len(middle)
        assert np.argmax(amplitudes) == 9_000  # which 16 kHz cannot hold
        assert amplitudes[9_000] == pytest.approx(0.5, rel=0.001)
        if native_hz == 44_100:
            assert np.array_equal(recording.waveform, samples)

    @pytest.mark.parametrize("rate_hz", [1, 999, 3_000_000])
    def test_an_absurd_rate_is_refused(self, rate_hz: int) -> None:
        assert refusal(wav(noise(40_000), rate_hz)) == "audio_unreadable"

    @pytest.mark.parametrize("frequency_hz", [8_500.0, 10_000.0, 15_000.0])
    def test_what_16_khz_cannot_hold_does_not_alias(self, frequency_hz: float) -> None:
        loud = sine(44_100, 2.0, frequency_hz=frequency_hz, amplitude=1.0)
        audible = sine(44_100, 2.0, frequency_hz=1_000.0, amplitude=0.1)
        left = spectrum(steady(decode(wav(loud / 1.2 + audible, 44_100))))
        left[990:1_011] = 0.0
        assert 20 * np.log10(left.max()) < -60

    def test_7_khz_passes(self) -> None:
        recording = decode(wav(sine(44_100, 2.0, frequency_hz=7_000.0), 44_100))
        assert spectrum(steady(recording))[7_000] == pytest.approx(0.5, rel=0.01)

    def test_cover_art_is_no_obstacle(self) -> None:
        file = with_cover_art(encoded("mp3"))
        with av.open(io.BytesIO(file)) as container:
            assert [stream.type for stream in container.streams] == ["audio", "video"]
        assert decode(file).duration_s == decode(encoded("mp3")).duration_s

    def test_file_and_bytes_give_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "sine.ogg"
        path.write_bytes(encoded("ogg vorbis"))
        with path.open("rb") as file:
            file.seek(17)  # wherever its reader left it
            from_file = decode(file)
        assert np.array_equal(from_file.waveform, decode(path.read_bytes()).waveform)

    def test_a_file_just_written_is_read_from_its_start(self) -> None:
        file = io.BytesIO()
        file.write(encoded("wav"))
        assert decode(file).duration_s == STEREO_S

    @pytest.mark.parametrize("name", ["mp3", "aac"])
    def test_a_rate_that_changes_midway_is_refused(self, name: str) -> None:
        writer, _, container, codec = ENCODINGS[name]
        slower = writer(stereo_sine(22_050), 22_050, container, codec)
        assert refusal(encoded(name) + slower) == "audio_unreadable"

    @pytest.mark.parametrize("name", ["mp3", "aac"])
    def test_channels_that_change_midway_are_refused(self, name: str) -> None:
        writer, rate_hz, container, codec = ENCODINGS[name]
        mono = writer(sine(rate_hz, 2.0), rate_hz, container, codec)
        assert refusal(encoded(name) + mono) == "audio_unreadable"

    def test_shared_recordings_all_decode(self, shared_data: Path) -> None:
        sizes = []
        for path in sorted((shared_data / "recordings").glob("*.mp3")):
            with path.open("rb") as file:
                recording = decode(file)
            assert (recording.format, recording.sample_rate_hz) == ("mp3", 44_100), path.name
            assert 26 <= recording.duration_s <= 61, path.name
            assert 0.01 < np.abs(recording.waveform).max() < 1.5, path.name
            sizes.append(len(recording.waveform))
        assert len(sizes) == 48

    def test_shared_opus_decodes(self, shared_data: Path) -> None:
        path = min((shared_data / "vgmidi" / "audio").glob("*.ogg"))
        recording = decode(path.read_bytes())
        assert recording.format == "ogg"
        assert recording.duration_s > 10


class TestLength:
    def test_one_patch_is_enough_and_one_sample_less_is_not(self) -> None:
        assert SHORTEST_AUDIO_SAMPLES == 15_600
        assert len(decode(wav(noise(15_600))).waveform) == 15_600
        assert refusal(wav(noise(15_599))) == "audio_too_short"

    def test_one_patch_is_enough_at_another_rate(self) -> None:
        assert len(decode(wav(noise(42_997), 44_100), rate_hz=44_100).waveform) == 42_997
        with pytest.raises(AudioError, match=r"0\.975 s"):
            decode(wav(noise(42_996), 44_100), rate_hz=44_100)

    @pytest.mark.parametrize("samples", [1, 2, 160, 8_000])
    def test_short(self, samples: int) -> None:
        assert refusal(wav(noise(samples))) == "audio_too_short"

    def test_no_sample(self) -> None:
        assert refusal(wav(noise(0))) == "audio_unreadable"

    def test_exactly_the_limit_is_allowed(self) -> None:
        assert decode(wav(noise(32_000)), max_duration_s=2.0).duration_s == 2.0
        with pytest.raises(AudioError) as refused:
            decode(wav(noise(32_001)), max_duration_s=2.0)
        assert refused.value.code == "audio_too_long"
        assert "2 s" in str(refused.value)


@pytest.fixture(scope="module")
def two_hours() -> bytes:
    return quiet_hours(7_200)


class TestLyingHeaders:
    def test_two_hours_are_refused_within_bounds(self, two_hours: bytes, tmp_path: Path) -> None:
        """In a process of its own: what it takes at most is the difference to its start."""
        assert len(two_hours) < 1_500_000
        (tmp_path / "honest.flac").write_bytes(two_hours)
        (tmp_path / "silent.flac").write_bytes(flac_claiming(two_hours, 0))
        (tmp_path / "lying.flac").write_bytes(flac_claiming(two_hours, 8_000))
        program = textwrap.dedent("""
            import resource, sys, time
            from models.audio import AudioError, decode

            def peak_mb():
                return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

            before_mb, begin_s = peak_mb(), time.monotonic()
            for path in sys.argv[1:]:
                try:
                    decode(open(path, "rb").read())
                except AudioError as error:
                    print(error.code)
            assert time.monotonic() - begin_s < 10, "too slow"
            assert peak_mb() - before_mb < 400, "too much memory"
        """)
        answer = subprocess.run(
            [sys.executable, "-c", program, *sorted(map(str, tmp_path.iterdir()))],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=REPOSITORY,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.split() == ["audio_too_long"] * 3

    def test_decoding_stops_at_the_limit(self, two_hours: bytes) -> None:
        tracemalloc.start()
        try:
            with pytest.raises(AudioError) as refused:
                decode(flac_claiming(two_hours, 0), max_duration_s=60.0)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert refused.value.code == "audio_too_long"
        assert peak_bytes < 20_000_000

    def test_flac(self) -> None:
        flac = sound_file(noise(48_000), 16_000, "FLAC", "PCM_16")
        assert refusal(flac_claiming(flac, 16_000 * 36_000)) == "audio_too_long"
        assert refusal(flac_claiming(flac, 16_000 * 60)) == "audio_truncated"
        assert decode(flac_claiming(flac, 16_000)).duration_s == 3.0
        assert decode(flac_claiming(flac, 0)).duration_s == 3.0

    def test_wav(self) -> None:
        file = wav(noise(48_000), subtype="PCM_16")
        ten_hours = 2 * 16_000 * 36_000
        assert refusal(wav_claiming(file, ten_hours + 36, ten_hours)) == "audio_truncated"
        assert decode(wav_claiming(file, len(file) - 8, ten_hours)).duration_s == 3.0
        assert decode(wav_claiming(file, len(file) - 8, 32_000)).duration_s == 1.0

    @pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_FFFF])
    def test_wav_written_to_a_pipe_has_no_length_to_trust(self, size: int) -> None:
        file = wav_claiming(wav(noise(48_000), subtype="PCM_16"), size, size)
        assert decode(file).duration_s == 3.0


class TestTruncated:
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.8])
    @pytest.mark.parametrize("name", sorted(set(ENCODINGS) - {"aac"}))
    def test_a_part_is_never_taken_for_the_whole(self, name: str, share: float) -> None:
        file = encoded(name)
        code = refusal(file[: int(len(file) * share)])
        assert code in {"audio_truncated", "audio_unreadable"}

    def test_a_real_recording(self, real_recording: Path) -> None:
        file = real_recording.read_bytes()
        assert refusal(file[: len(file) // 2]) == "audio_truncated"

    @pytest.mark.parametrize("name", ["ogg vorbis", "opus", "wav"])
    def test_formats_that_frame_their_end_miss_even_a_little(self, name: str) -> None:
        assert refusal(encoded(name)[:-200]) == "audio_truncated"

    def test_aac_frames_promise_nothing(self) -> None:
        """Raw AAC has no length anywhere: what is there is all that can be asked for."""
        file = encoded("aac")
        assert decode(file[: len(file) // 2]).duration_s == pytest.approx(1.5, abs=0.1)

    def test_a_hole_in_the_middle_is_seen(self) -> None:
        writer, rate_hz, container, codec = ENCODINGS["flac"]
        file = bytearray(writer(noise(rate_hz * 6), rate_hz, container, codec))
        third = len(file) // 3
        file[third : 2 * third] = bytes(third)
        assert refusal(bytes(file)) in {"audio_truncated", "audio_unreadable"}


class TestUnusableSamples:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, 1e11])
    def test_not_finite(self, bad: float) -> None:
        samples = noise(32_000)
        samples[20_000] = bad
        assert refusal(wav(samples)) == "audio_not_finite"

    @pytest.mark.parametrize("bad_channel", [0, 1])
    def test_not_finite_in_one_plane(self, bad_channel: int) -> None:
        planes = [noise(100), noise(100)]
        assert averaged(planes, 2).shape == (100,)
        planes[bad_channel][50] = np.nan
        with pytest.raises(AudioError) as refused:
            averaged(planes, 2)
        assert refused.value.code == "audio_not_finite"

    def test_infinities_that_would_cancel(self) -> None:
        samples = np.stack([noise(32_000)] * 2, axis=1)
        samples[20_000] = np.inf, -np.inf
        assert refusal(wav(samples)) == "audio_not_finite"

    def test_doubles_too_large_for_float32(self) -> None:
        samples = noise(32_000).astype(np.float64) * 1e300
        assert refusal(sound_file(samples, 16_000, "WAV", "DOUBLE")) == "audio_not_finite"

    def test_integers_exported_as_floats_are_loud_but_finite(self) -> None:
        samples = noise(32_000) * np.float32(2**31)
        assert np.array_equal(decode(wav(samples)).waveform, samples)

    @pytest.mark.parametrize("amplitude", [0.0, 1e-9, 9e-5])
    def test_silence(self, amplitude: float) -> None:
        assert refusal(wav(sine(16_000, 2.0, amplitude=amplitude))) == "audio_silent"

    def test_very_quiet_is_not_silence(self) -> None:
        assert refusal(wav(sine(16_000, 2.0, amplitude=2e-4))) == "decoded"


@pytest.fixture
def tripwire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tripwire]:
    """Lay a pipe that must not be opened into the current folder."""
    monkeypatch.chdir(tmp_path)
    with Tripwire(tmp_path / "secret.wav") as wire:
        yield wire


def playlist(path: Path) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n".encode()


SESSION = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"

POINTING_FILES: dict[str, Callable[[Path], bytes]] = {
    "ffconcat": lambda path: f"ffconcat version 1.0\nfile {path.name}\n".encode(),
    "ffconcat, absolute": lambda path: f"ffconcat version 1.0\nfile '{path}'\n".encode(),
    "m3u8": playlist,
    "m3u8 behind an ID3 tag": lambda path: b"ID3\x03\0\0\0\0\0\0" + playlist(path),
    "m3u": lambda path: f"#EXTM3U\n{path}\n".encode(),
    "m3u8 with a key": lambda path: playlist(path).replace(
        b"#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{path}"\n'.encode()
    ),
    "dash": lambda path: (
        f'<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation>'
        f"<BaseURL>{path}</BaseURL></Representation></AdaptationSet></Period></MPD>".encode()
    ),
    "quicktime alias": quicktime_pointing_to,
    "sdp": lambda _: SESSION,
}


class TestOtherFiles:
    """A file may name others; nothing but the file itself is ever opened."""

    @pytest.mark.parametrize("suffix", ["mp3", "m3u8", "ffconcat", "sdp", "wav"])
    @pytest.mark.parametrize("name", POINTING_FILES)
    def test_refused_without_opening(self, name: str, suffix: str, tripwire: Tripwire) -> None:
        path = Path(f"upload.{suffix}").absolute()
        path.write_bytes(POINTING_FILES[name](tripwire.path))
        with path.open("rb") as file, pytest.raises(AudioError) as refused:
            decode(file)
        assert refused.value.code == "audio_unreadable"
        assert str(tripwire.path) not in str(refused.value)
        assert refusal(path.read_bytes()) == "audio_unreadable"
        assert not tripwire.opened

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("ffconcat", {}),
            ("quicktime alias", {"enable_drefs": "1", "use_absolute_path": "1"}),
        ],
    )
    def test_the_tripwire_itself(
        self, name: str, options: dict[str, str], tripwire: Tripwire
    ) -> None:
        """Without our options FFmpeg does open the other file, and the wire tells."""
        file = io.BytesIO(POINTING_FILES[name](tripwire.path))
        try:
            with av.open(file, "r", options=options) as container:
                list(container.decode(audio=0))
        except av.error.FFmpegError:
            pass  # an empty pipe is no recording
        assert tripwire.opened

    def test_attachments_are_not_followed(self, tripwire: Tripwire) -> None:
        file = ffmpeg_file(
            sine(48_000, 2.0), 48_000, "matroska", "aac", attachment=playlist(tripwire.path)
        )
        assert decode(file).duration_s == pytest.approx(2.0, abs=0.05)
        assert not tripwire.opened


MAGIC = [
    b"",
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00",
    b"OggS\x00\x02",
    b"fLaC\x00\x00\x00\x22",
    b"ID3\x04\x00\x00\x00\x00\x00\x00",
    b"\xff\xfb\x90\x64",
    b"\xff\xf1\x50\x80",
    b"FORM\x00\x00\x10\x00AIFFCOMM",
    b"\x00\x00\x00\x20ftypM4A ",
    b"\x1a\x45\xdf\xa3",
]


class TestGarbage:
    def test_empty(self) -> None:
        assert refusal(b"") == "audio_empty"

    @pytest.mark.parametrize(
        "file",
        [
            b"this is no music\n" * 1_000,
            b"\0" * 100_000,
            b"<html><body>404</body></html>",
            b"\x89PNG\r\n\x1a\n" + bytes(1_000),
            b"%PDF-1.7\n" + bytes(1_000),
            b"PK\x03\x04" + bytes(1_000),
            b"MThd\0\0\0\6\0\0\0\1\0\x60",
        ],
    )
    def test_what_is_no_recording(self, file: bytes) -> None:
        with pytest.raises(AudioError, match="send mp3, ogg") as refused:
            decode(file)
        assert refused.value.code == "audio_unreadable"

    def test_a_film_without_sound(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("mpeg4", rate=5)
            stream.width = stream.height = 16
            for _ in range(10):
                picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        with pytest.raises(AudioError, match="no audio stream"):
            decode(file.getvalue())

    def test_an_unknown_codec(self) -> None:
        file = bytearray(wav(noise(32_000), subtype="PCM_16"))
        file[20:22] = b"\x34\x12"  # the format tag
        assert refusal(bytes(file)) == "audio_unreadable"

    @settings(max_examples=150)
    @given(magic=st.sampled_from(MAGIC), body=st.binary(max_size=4_096))
    def test_random_bytes_behind_a_magic_number(self, magic: bytes, body: bytes) -> None:
        # Anything but an AudioError fails here.
        assert refusal(magic + body) in {
            "audio_empty",
            "audio_unreadable",
            "audio_truncated",
            "audio_too_short",
        }

    @settings(max_examples=120)
    @given(
        name=st.sampled_from(sorted(ENCODINGS)),
        flips=st.lists(
            st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
            min_size=1,
            max_size=40,
        ),
        in_header=st.booleans(),
    )
    def test_flipped_bits(self, name: str, flips: list[tuple[float, int]], in_header: bool) -> None:
        file = bytearray(encoded(name))
        reach = min(len(file), 400) if in_header else len(file)
        for where, bit in flips:
            file[int(where * reach)] ^= 1 << bit
        try:
            recording = decode(bytes(file))
        except AudioError:
            return
        assert np.isfinite(recording.waveform).all()
        assert len(recording.waveform) >= SHORTEST_AUDIO_SAMPLES
        assert recording.channels >= 1

    @settings(max_examples=10)
    @given(places=st.lists(st.integers(0, 10_000_000), min_size=1, max_size=50))
    def test_flipped_bits_of_a_real_recording(
        self, real_recording: Path, places: list[int]
    ) -> None:
        file = bytearray(real_recording.read_bytes())
        for place in places:
            file[place // 8 % len(file)] ^= 1 << place % 8
        assert refusal(bytes(file)) in {"decoded", "audio_unreadable", "audio_truncated"}

    def test_no_file_descriptor_stays_open(self, tmp_path: Path) -> None:
        files = [encoded("mp3"), encoded("wav")[:-5_000], b"nothing", wav(noise(10)), b""]
        paths = [tmp_path / str(position) for position in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        decode(files[0])  # whatever is opened once and kept
        before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(5):
            for path in paths:
                with path.open("rb") as file:
                    refusal(file.read())
                    file.seek(0)
                    try:
                        decode(file)
                    except AudioError:
                        continue
        assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
