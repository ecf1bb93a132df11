"""The openSMILE frontend: DEAM's columns, each row from its own 0.96 s of sound."""

from __future__ import annotations

import csv
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import opensmile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import opensmile_descriptors
from models.audio import decode
from models.frontends import FrontendError, OpensmileFrontend, build_frontend, load_frontend
from models.opensmile_columns import OPENSMILE_COLUMNS
from models.windows import window_patches
from tests.models.sounds import noise, sine

RATE_HZ = 44_100
PATCH_SAMPLES = 42_336
DEAM_SONGS = ("3", "4", "8", "10", "17")


@pytest.fixture(scope="module")
def frontend() -> OpensmileFrontend:
    return OpensmileFrontend()


def column(features: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = features[:, OPENSMILE_COLUMNS.index(name)]
    return values


@pytest.fixture(scope="module")
def table(shared_data: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the five songs' rows and the corpus' deviations, in the frontend's columns."""
    text = (shared_data / "deam" / "features_song_level_opensmile.csv").read_text()
    rows = {row["song_id"]: row for row in csv.DictReader(io.StringIO(text))}
    values = {song: [float(row[name]) for name in OPENSMILE_COLUMNS] for song, row in rows.items()}
    return np.array([values[song] for song in DEAM_SONGS]), np.std(list(values.values()), axis=0)


@pytest.fixture(scope="module")
def heard(shared_data: Path, frontend: OpensmileFrontend) -> list[NDArray[np.float32]]:
    folder = shared_data / "deam" / "audio"
    return [
        frontend.features(decode((folder / f"{song}.mp3").read_bytes(), rate_hz=RATE_HZ).waveform)
        for song in DEAM_SONGS
    ]


class TestDeam:
    def test_features_of_whole_recordings_are_the_tables(
        self,
        table: tuple[NDArray[np.float64], NDArray[np.float64]],
        heard: list[NDArray[np.float32]],
    ) -> None:
        rows, deviation = table
        errors = np.abs([f.mean(axis=0) for f in heard] - rows) / deviation
        by_column = np.median(errors, axis=0)
        assert np.median(by_column) < 0.2
        assert by_column.max() < 0.5

    def test_features_of_a_window_are_close_to_the_tables(
        self,
        table: tuple[NDArray[np.float64], NDArray[np.float64]],
        heard: list[NDArray[np.float32]],
    ) -> None:
        rows, deviation = table
        windows = [window_patches(features, 15.0) for features in heard]
        assert {len(window) for window in windows} == {31}
        errors = np.abs([window.mean(axis=0) for window in windows] - rows) / deviation
        by_column = np.median(errors, axis=0)
        assert np.median(by_column) < 0.25
        assert by_column.max() < 0.75

    def test_each_song_is_nearest_to_its_own_row(
        self,
        table: tuple[NDArray[np.float64], NDArray[np.float64]],
        heard: list[NDArray[np.float32]],
    ) -> None:
        rows, deviation = table
        windows = np.array([window_patches(features, 15.0).mean(axis=0) for features in heard])
        distances = np.median(np.abs(windows[:, None] - rows) / deviation, axis=2)
        assert distances.argmin(axis=1).tolist() == list(range(5))

    def test_columns_are_the_tables_that_were_compared(self, shared_data: Path) -> None:
        text = (shared_data / "deam" / "opensmile_agreement.csv").read_text()
        compared = {row["feature"] for row in csv.DictReader(io.StringIO(text))}
        assert len(OPENSMILE_COLUMNS) == len(set(OPENSMILE_COLUMNS))
        assert set(OPENSMILE_COLUMNS) <= compared


class TestOracle:
    def test_blocks_leave_no_seam(
        self, real_recording: Path, frontend: OpensmileFrontend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Patches are openSMILE's descriptors of the whole, summarised by plain loops."""
        recording = decode(real_recording.read_bytes(), rate_hz=RATE_HZ)
        waveform = recording.waveform[: 10 * PATCH_SAMPLES + 2_000]
        monkeypatch.setattr(opensmile_descriptors, "_BLOCK_PATCHES", 3)
        features = frontend.features(waveform)
        assert features.shape == (10, len(OPENSMILE_COLUMNS))

        smile = opensmile.Smile(
            opensmile.FeatureSet.IS13, opensmile.FeatureLevel.LowLevelDescriptors
        )
        integers = np.clip(np.round(waveform * 32_768), -32_768, 32_767)
        whole = smile.process_signal(integers / np.float32(32_768), RATE_HZ)
        spread = features.std(axis=0)
        for place, name in enumerate(OPENSMILE_COLUMNS):
            descriptor, _, functional = name.rpartition("_")
            values = whole[descriptor.replace("pcm_fftMag_mfcc", "mfcc")].to_numpy(np.float64)
            for patch in range(1, 9):
                first, last = 96 * patch, 96 * patch + 96
                inside = values[first:last]
                if functional == "stddev":
                    inside = values[first - 2 : last + 2]
                expected = sum(inside) / len(inside)
                if functional == "stddev":
                    expected = np.sqrt(sum((inside - expected) ** 2) / len(inside))
                assert abs(features[patch, place] - expected) < 0.02 * spread[place], name

    def test_a_row_is_of_its_own_time(self, frontend: OpensmileFrontend) -> None:
        waveform = noise(6 * PATCH_SAMPLES + 1_000, amplitude=0.001)
        third = slice(2 * PATCH_SAMPLES, 3 * PATCH_SAMPLES)
        waveform[third] += sine(RATE_HZ, 0.96, frequency_hz=220.0)
        energy = column(frontend.features(waveform), "pcm_RMSenergy_sma_amean")
        assert energy[2] == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
        assert max(energy[[0, 4, 5]]) < 0.002
        assert max(energy[[1, 3]]) < 0.01  # a frame reaches over its patch's end

    def test_pitch_of_a_tone(self, frontend: OpensmileFrontend) -> None:
        tone = sum(
            sine(RATE_HZ, 2.0, frequency_hz=220.0 * n, amplitude=0.3 / n) for n in range(1, 6)
        )
        features = frontend.features(np.asarray(tone, np.float32))
        assert column(features, "F0final_sma_amean") == pytest.approx(220.0, rel=0.01)
        assert (column(features, "voicingFinalUnclipped_sma_amean") > 0.85).all()

    def test_what_loudness_does(self, shared_data: Path, frontend: OpensmileFrontend) -> None:
        """Half the amplitude: energies by their power of it, all that tells timbre as it was."""
        path = shared_data / "recordings" / "rock-23.mp3"
        recording = decode(path.read_bytes(), rate_hz=RATE_HZ)
        loud = recording.waveform[: 5 * PATCH_SAMPLES + 2_000]
        ratio = frontend.features(np.float32(0.5) * loud).mean(axis=0) / frontend.features(
            loud
        ).mean(axis=0)
        powers = {
            "pcm_RMSenergy_sma_amean": 1.0,
            "pcm_fftMag_spectralFlux_sma_stddev": 1.0,
            "audspec_lengthL1norm_sma_amean": 0.66,
            "pcm_fftMag_fband250-650_sma_amean": 2.0,
            "pcm_fftMag_mfcc_sma[1]_amean": 0.0,
            "pcm_fftMag_spectralCentroid_sma_amean": 0.0,
            "audSpec_Rfilt_sma[7]_amean": 0.0,
        }
        for name, power in powers.items():
            assert ratio[OPENSMILE_COLUMNS.index(name)] == pytest.approx(0.5**power, rel=0.01), name


class TestAnySound:
    def test_same_bits_again_and_from_threads_at_once(self, frontend: OpensmileFrontend) -> None:
        waveforms = [noise(PATCH_SAMPLES * (seed + 1) + 2_000, seed=seed) for seed in range(4)]
        expected = [frontend.features(waveform).tobytes() for waveform in waveforms]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda each: frontend.features(each).tobytes(), waveforms))
        assert found == expected
        assert OpensmileFrontend().features(waveforms[1]).tobytes() == expected[1]

    @pytest.mark.parametrize(
        ("samples", "patches"), [(43_000, 1), (85_300, 1), (85_400, 2), (42_900, 0), (0, 0)]
    )
    def test_as_many_rows_as_other_frontends(
        self, frontend: OpensmileFrontend, samples: int, patches: int
    ) -> None:
        logmel = build_frontend("logmel").features(noise(samples * 160 // 441))
        assert frontend.features(noise(samples)).shape == (patches, frontend.feature_size)
        assert len(logmel) == patches

    @pytest.mark.parametrize("level", [0.0, 1e-5, 1.0, 1e6])
    def test_silence_and_noise_beyond_full_scale(
        self, frontend: OpensmileFrontend, level: float
    ) -> None:
        features = frontend.features(noise(50_000, amplitude=1.0) * np.float32(level))
        assert features.dtype == np.float32
        assert np.isfinite(features).all()
        assert (column(features, "pcm_RMSenergy_sma_amean") < 1.001).all()

    def test_peaks_are_held_at_full_scale(self, frontend: OpensmileFrontend) -> None:
        loud = sine(RATE_HZ, 1.0, amplitude=1.2)
        features = frontend.features(loud)
        assert features.tobytes() == frontend.features(np.clip(loud, -1, 1)).tobytes()
        assert column(features, "pcm_fftMag_spectralCentroid_sma_amean") < 1_000

    @settings(max_examples=12)
    @given(
        seconds=st.floats(0.975, 4.0),
        seed=st.integers(0, 99),
        level=st.floats(-6, 1),
    )
    def test_any_length_and_level_gives_numbers(
        self, frontend: OpensmileFrontend, seconds: float, seed: int, level: float
    ) -> None:
        waveform = noise(round(seconds * RATE_HZ), seed=seed, amplitude=10**level)
        features = frontend.features(waveform)
        assert len(features) == int((seconds - 0.015) / 0.96)
        assert np.isfinite(features).all()


class TestIdentity:
    def test_says_columns_and_version(self, frontend: OpensmileFrontend) -> None:
        identity = frontend.identity()
        assert json.loads(json.dumps(identity)) == identity
        assert identity["feature_size"] == frontend.feature_size == len(OPENSMILE_COLUMNS)
        assert identity["sample_rate_hz"] == frontend.sample_rate_hz == RATE_HZ

    def test_another_version_is_refused(self, frontend: OpensmileFrontend, tmp_path: Path) -> None:
        identity = frontend.identity()
        assert frontend.save(tmp_path) == []
        assert load_frontend(identity, tmp_path).identity() == identity
        for changed in ("opensmile", "columns_sha256"):
            with pytest.raises(FrontendError, match="train again"):
                load_frontend({**identity, changed: "other"}, tmp_path)

    def test_without_the_package_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "opensmile", None)
        monkeypatch.delitem(sys.modules, "models.opensmile_descriptors")
        with pytest.raises(FrontendError, match=r"circumplex\[opensmile\].*research"):
            build_frontend("opensmile")
