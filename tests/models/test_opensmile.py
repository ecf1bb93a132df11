"""The openSMILE frontend: DEAM's columns, each row from its own 0.96 s of sound, at one level."""

from __future__ import annotations

import csv
import io
import json
import sys
import tomllib
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
from models.opensmile_columns import DEAM_COLUMNS, OPENSMILE_COLUMNS, at_common_level
from models.opensmile_descriptors import PatchDescriptors
from models.windows import window_patches
from tests.conftest import REPOSITORY
from tests.models.sounds import noise, sine

RATE_HZ = 44_100
PATCH_SAMPLES = 42_336
DEAM_SONGS = ("3", "4", "8", "10", "17")


@pytest.fixture(scope="module")
def frontend() -> OpensmileFrontend:
    return OpensmileFrontend()


@pytest.fixture(scope="module")
def describe() -> PatchDescriptors:
    return PatchDescriptors(DEAM_COLUMNS)


def column(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return one of DEAM's columns, (T,)."""
    chosen: NDArray[np.float32] = values[:, DEAM_COLUMNS.index(name)]
    return chosen


class TestDeam:
    @pytest.fixture
    def table(self, shared_data: Path) -> dict[str, NDArray[np.float32]]:
        """Return the rows of DEAM's table as the frontend's features."""
        text = (shared_data / "deam" / "features_song_level_opensmile.csv").read_text()
        return {
            row["song_id"]: at_common_level(
                np.array([[row[name] for name in DEAM_COLUMNS]], np.float32)
            )[0]
            for row in csv.DictReader(io.StringIO(text))
        }

    def test_what_is_heard_is_what_the_table_says(
        self, table: dict[str, NDArray[np.float32]], shared_data: Path, frontend: OpensmileFrontend
    ) -> None:
        """In units of the corpus' deviation, over five songs; chance is about 1.0."""
        deviation = np.std(list(table.values()), axis=0)
        rows = np.array([table[song] for song in DEAM_SONGS])
        files = [shared_data / "deam" / "audio" / f"{song}.mp3" for song in DEAM_SONGS]
        waveforms = [decode(file.read_bytes(), rate_hz=RATE_HZ).waveform for file in files]
        with ThreadPoolExecutor(2) as pool:
            heard = list(pool.map(frontend.features, waveforms))
        assert {len(features) for features in heard} == {46}

        whole = np.array([features.mean(axis=0) for features in heard])
        by_column = np.median(np.abs(whole - rows) / deviation, axis=0)
        assert np.median(by_column) < 0.2
        assert by_column.max() < 0.5

        windows = np.array([window_patches(features, 15.0).mean(axis=0) for features in heard])
        by_column = np.median(np.abs(windows - rows) / deviation, axis=0)
        assert np.median(by_column) < 0.25
        assert by_column.max() < 0.75

        distances = np.median(np.abs(windows[:, None] - rows) / deviation, axis=2)
        assert distances.argmin(axis=1).tolist() == list(range(5))

    def test_columns_are_the_tables_that_were_compared(self, shared_data: Path) -> None:
        text = (shared_data / "deam" / "opensmile_agreement.csv").read_text()
        compared = {row["feature"] for row in csv.DictReader(io.StringIO(text))}
        assert len(DEAM_COLUMNS) == len(set(DEAM_COLUMNS)) == 101
        assert set(DEAM_COLUMNS) == compared


class TestDescriptors:
    def test_values_by_plain_loops(
        self, real_recording: Path, describe: PatchDescriptors, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Blocks leave no seam: openSMILE's descriptors of the whole, summarised one by one."""
        recording = decode(real_recording.read_bytes(), rate_hz=RATE_HZ)
        waveform = recording.waveform[: 10 * PATCH_SAMPLES + 2_000]
        monkeypatch.setattr(opensmile_descriptors, "_BLOCK_PATCHES", 3)
        described = describe(waveform)
        assert described.shape == (10, len(DEAM_COLUMNS))

        smile = opensmile.Smile(
            opensmile.FeatureSet.IS13, opensmile.FeatureLevel.LowLevelDescriptors
        )
        integers = np.clip(np.round(waveform * 32_768), -32_768, 32_767)
        whole = smile.process_signal(integers / np.float32(32_768), RATE_HZ)
        spread = described.std(axis=0)
        for place, name in enumerate(DEAM_COLUMNS):
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
                assert abs(described[patch, place] - expected) < 0.02 * spread[place], name

    def test_a_row_is_of_its_own_time(self, describe: PatchDescriptors) -> None:
        waveform = noise(6 * PATCH_SAMPLES + 1_000, amplitude=0.001)
        third = slice(2 * PATCH_SAMPLES, 3 * PATCH_SAMPLES)
        waveform[third] += sine(RATE_HZ, 0.96, frequency_hz=220.0)
        energy = column(describe(waveform), "pcm_RMSenergy_sma_amean")
        assert energy[2] == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
        assert max(energy[[0, 4, 5]]) < 0.002
        assert max(energy[[1, 3]]) < 0.01  # a frame reaches over its patch's end

    def test_pitch_of_a_tone(self, describe: PatchDescriptors) -> None:
        tone = sum(
            sine(RATE_HZ, 2.0, frequency_hz=220.0 * n, amplitude=0.3 / n) for n in range(1, 6)
        )
        described = describe(np.asarray(tone, np.float32))
        assert column(described, "F0final_sma_amean") == pytest.approx(220.0, rel=0.01)
        assert (column(described, "voicingFinalUnclipped_sma_amean") > 0.85).all()

    def test_a_sudden_beginning_is_not_heard_as_one(
        self, real_recording: Path, describe: PatchDescriptors
    ) -> None:
        """Cut out of its middle, a recording begins as it went on."""
        waveform = decode(real_recording.read_bytes(), rate_hz=RATE_HZ).waveform
        whole = describe(waveform[: 10 * PATCH_SAMPLES + 2_000])[5:]
        cut = describe(waveform[5 * PATCH_SAMPLES : 10 * PATCH_SAMPLES + 2_000])
        rasta = [name.startswith("audSpec_Rfilt") for name in DEAM_COLUMNS]
        assert np.abs(cut[1:4] / whole[1:4] - 1)[:, rasta].max() < 1e-3
        assert np.abs(cut[0] / whole[0] - 1)[rasta].max() < 0.5  # five times as much unmirrored

    def test_peaks_are_held_at_full_scale(self, describe: PatchDescriptors) -> None:
        loud = sine(RATE_HZ, 1.0, amplitude=1.2)
        described = describe(loud)
        assert described.tobytes() == describe(np.clip(loud, -1, 1)).tobytes()
        assert column(described, "pcm_fftMag_spectralCentroid_sma_amean") < 1_000


class TestLevel:
    def test_scales_by_the_power_of_each_column(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.uniform(0.1, 1, (3, len(DEAM_COLUMNS))).astype(np.float32)
        gain = 0.1 / column(values, "pcm_RMSenergy_sma_amean").mean()
        levelled = at_common_level(values)
        assert levelled.shape == (3, len(OPENSMILE_COLUMNS))
        for name, power in {
            "F0final_sma_amean": 0.0,
            "audspec_lengthL1norm_sma_stddev": 0.66,
            "audspecRasta_lengthL1norm_sma_amean": 0.0,
            "pcm_RMSenergy_sma_stddev": 1.0,
            "pcm_fftMag_spectralFlux_sma_amean": 1.0,
            "pcm_fftMag_fband1000-4000_sma_stddev": 2.0,
            "pcm_fftMag_spectralSlope_sma_amean": 2.0,
            "pcm_fftMag_spectralHarmonicity_sma_amean": 2.0,
            "pcm_fftMag_mfcc_sma[14]_amean": 0.0,
        }.items():
            found = levelled[:, OPENSMILE_COLUMNS.index(name)]
            assert found == pytest.approx(column(values, name) * gain**power, rel=1e-5), name

    def test_a_quieter_copy_has_the_same_features(
        self, shared_data: Path, frontend: OpensmileFrontend
    ) -> None:
        path = shared_data / "recordings" / "rock-23.mp3"
        waveform = decode(path.read_bytes(), rate_hz=RATE_HZ).waveform
        loud = waveform[20 * PATCH_SAMPLES : 25 * PATCH_SAMPLES + 2_000]
        features, quieter = (frontend.features(np.float32(gain) * loud) for gain in (1.0, 0.5))
        moved = np.abs(quieter.mean(axis=0) - features.mean(axis=0)) / features.std(axis=0)
        touchy = ("jitter", "shimmer", "logHNR", "voicing", "F0")  # each frame is voiced or not
        steady = [not name.startswith(touchy) for name in OPENSMILE_COLUMNS]
        assert sum(steady) == 88
        assert moved[steady].max() < 0.05

    @pytest.mark.parametrize("patches", [0, 1, 5])
    def test_silence_stays_finite(self, patches: int) -> None:
        levelled = at_common_level(np.zeros((patches, len(DEAM_COLUMNS)), np.float32))
        assert levelled.shape == (patches, len(OPENSMILE_COLUMNS))
        assert not levelled.any()


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

    @settings(max_examples=12)
    @given(seconds=st.floats(0.975, 3.0), seed=st.integers(0, 99), level=st.floats(-7, 6))
    def test_any_length_and_level_gives_numbers(
        self, frontend: OpensmileFrontend, seconds: float, seed: int, level: float
    ) -> None:
        waveform = noise(round(seconds * RATE_HZ), seed=seed, amplitude=10**level)
        features = frontend.features(waveform)
        assert len(features) == int((seconds - 0.015) / 0.96)
        assert features.dtype == np.float32
        assert np.isfinite(features).all()


class TestIdentity:
    def test_says_columns_and_version(self, frontend: OpensmileFrontend) -> None:
        identity = frontend.identity()
        assert json.loads(json.dumps(identity)) == identity
        assert identity["feature_size"] == frontend.feature_size == len(OPENSMILE_COLUMNS) == 100
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

    def test_the_package_is_in_no_default_installation_nor_the_image(self) -> None:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"]
        wanting = {name for name, needs in extras.items() if "opensmile" in " ".join(needs)}
        assert wanting == {"opensmile", "dev"}
        assert "opensmile" not in " ".join(project["dependencies"])
        installed = (REPOSITORY / "Dockerfile").read_text()
        assert '".[cpu,postgres]"' in installed
        assert "opensmile" not in installed
