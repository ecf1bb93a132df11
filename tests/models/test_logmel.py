"""Log-mel patches equal those of torchvggish, and do not depend on where they lie."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.audio import decode
from models.logmel import MEL_BANDS, PATCH_FRAMES, VGGISH_LOG_OFFSET, _mel_matrix, log_mel_patches
from tests.models.sounds import noise, sine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # resampy's use of pkg_resources
    from torchvggish import mel_features, vggish_input, vggish_params

PATCH_SAMPLES = 15_360


def official(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    examples: NDArray[np.float64] = vggish_input.waveform_to_examples(
        waveform.astype(np.float64), 16_000, return_tensor=False
    )
    return examples


class TestAgainstTorchvggish:
    @pytest.mark.parametrize("amplitude", [1e-6, 1e-3, 0.1, 1.0, 1e3, 1e9])
    def test_noise(self, amplitude: float) -> None:
        waveform = noise(100_000, amplitude=amplitude)
        assert np.abs(log_mel_patches(waveform) - official(waveform)).max() < 1e-4

    def test_loud_beside_silent(self) -> None:
        waveform = sine(16_000, 3.0, frequency_hz=200.0, amplitude=1.0)
        waveform[20_000:30_000] = 0.0
        assert np.abs(log_mel_patches(waveform) - official(waveform)).max() < 1e-4

    def test_a_real_recording(self, real_recording: Path) -> None:
        waveform = decode(real_recording.read_bytes()).waveform
        expected = official(waveform)
        patches = log_mel_patches(waveform)
        assert patches.shape == expected.shape
        assert len(patches) > 25
        assert np.abs(patches - expected).max() < 1e-4

    def test_the_mel_matrix(self) -> None:
        expected = mel_features.spectrogram_to_mel_matrix(
            num_mel_bins=64,
            num_spectrogram_bins=257,
            audio_sample_rate=16_000,
            lower_edge_hertz=125.0,
            upper_edge_hertz=7_500.0,
        )
        assert np.abs(_mel_matrix() - expected).max() < 1e-6

    def test_the_offset_is_theirs(self) -> None:
        assert vggish_params.LOG_OFFSET == VGGISH_LOG_OFFSET == 0.01


class TestShapes:
    @pytest.mark.parametrize(
        ("samples", "patches"),
        [
            (0, 0),
            (1, 0),
            (399, 0),
            (15_359, 0),
            (15_599, 0),
            (15_600, 1),
            (15_601, 1),
            (30_959, 1),
            (30_960, 2),
            (480_000, 31),
        ],
    )
    def test_around_whole_patches(self, samples: int, patches: int) -> None:
        result = log_mel_patches(noise(samples))
        assert result.shape == (patches, PATCH_FRAMES, MEL_BANDS)
        assert (PATCH_FRAMES, MEL_BANDS) == (96, 64)
        assert result.dtype == np.float32


class TestValues:
    @pytest.mark.parametrize("frequency_hz", [150.0, 440.0, 1_000.0, 2_500.0, 5_000.0, 7_000.0])
    def test_a_sine_lands_in_its_band(self, frequency_hz: float) -> None:
        patches = log_mel_patches(sine(16_000, 1.0, frequency_hz=frequency_hz))
        low, high = (1127 * np.log(1 + edge / 700) for edge in (125.0, 7_500.0))
        position = (1127 * np.log(1 + frequency_hz / 700) - low) / (high - low) * 65 - 1
        loudest = np.argmax(patches.mean(axis=(0, 1)))
        assert abs(loudest - position) <= 1.0

    def test_a_sine_has_the_amplitude_of_its_window(self) -> None:
        """A full bin's magnitude is amplitude · Σ window / 2; here 0.5 · 200 / 2 = 50."""
        patches = log_mel_patches(sine(16_000, 1.0, frequency_hz=1_000.0))
        matrix = _mel_matrix().astype(np.float64)
        times = np.arange(400) / 16_000
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
        phases = np.exp(-2j * np.pi * np.outer(np.arange(257) / 512, np.arange(400)))
        first = 0.5 * np.sin(2 * np.pi * 1_000.0 * times) * window
        magnitude = np.abs(phases @ first)
        assert magnitude.max() == pytest.approx(50.0, rel=0.01)
        expected = np.log(magnitude @ matrix + 0.01)
        assert np.abs(patches[0, 0] - expected).max() < 1e-4

    def test_silence_is_the_offset(self) -> None:
        for offset in (0.01, 0.001):
            patches = log_mel_patches(np.zeros(16_000, np.float32), offset)
            assert np.abs(patches - np.log(offset)).max() < 1e-6

    def test_the_loudest_that_is_decoded_is_finite(self) -> None:
        assert np.isfinite(log_mel_patches(noise(16_000, amplitude=2e9))).all()

    @settings(max_examples=12)
    @given(
        patches=st.integers(1, 40),
        tail=st.integers(240, 15_599),
        chosen=st.integers(0, 39),
        seed=st.integers(0, 1_000),
    )
    def test_a_patch_knows_only_its_own_samples(
        self, patches: int, tail: int, chosen: int, seed: int
    ) -> None:
        waveform = noise(patches * PATCH_SAMPLES + tail, seed=seed)
        whole = log_mel_patches(waveform)
        assert len(whole) == patches
        begin = chosen % patches * PATCH_SAMPLES
        alone = log_mel_patches(waveform[begin : begin + 15_600])
        assert alone.tobytes() == whole[chosen % patches].tobytes()
