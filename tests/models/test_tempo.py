"""Tempo on clicks, on the synthetic corpus' music, whose tempo is known, and on what has none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.audio import SAMPLE_RATE_HZ
from models.tempo import tempo_bpm
from training.synthesis.instruments import RATE_HZ
from training.synthesis.piece import part_streams, render
from training.synthesis.style import draw_style

_TEMPO_OCTAVES = 0.6  # by which a unit of arousal changes the tempo of a synthetic piece


def clicks(bpm: float, seconds: float = 20.0, rate_hz: int = SAMPLE_RATE_HZ) -> NDArray[np.float32]:
    """Return short bursts of noise on every beat, over very quiet noise."""
    rng = np.random.default_rng(0)
    waveform = rng.normal(0, 0.001, round(seconds * rate_hz))
    burst = 0.5 * rng.normal(size=rate_hz // 20) * np.exp(-np.arange(rate_hz // 20) / rate_hz * 100)
    for beat_s in np.arange(0, seconds - 0.1, 60 / bpm):
        first = round(beat_s * rate_hz)
        waveform[first : first + len(burst)] += burst
    return waveform.astype(np.float32)


@pytest.mark.parametrize("bpm", [50.0, 60.0, 75.0, 88.5, 100.0, 120.0, 133.3, 150.0])
def test_clicks_are_timed_to_a_fraction_of_a_beat(bpm: float) -> None:
    assert tempo_bpm(clicks(bpm), SAMPLE_RATE_HZ) == pytest.approx(bpm, rel=1e-3)


@pytest.mark.parametrize("bpm", [174.0, 200.0, 240.0])
def test_fast_clicks_are_halved(bpm: float) -> None:
    """The octave error that the module states: nothing in clicks tells one from the other."""
    assert tempo_bpm(clicks(bpm), SAMPLE_RATE_HZ) == pytest.approx(bpm / 2, rel=1e-3)


def test_any_rate_gives_the_same_tempo() -> None:
    assert tempo_bpm(clicks(97.0, rate_hz=44_100), 44_100) == pytest.approx(97, rel=1e-3)


def test_a_long_recording_is_timed_across_its_blocks() -> None:
    assert tempo_bpm(clicks(91.0, seconds=150), SAMPLE_RATE_HZ) == pytest.approx(91, rel=1e-3)


@pytest.mark.parametrize("arousal", [-0.6, 0.0, 0.6])
@pytest.mark.parametrize("piece", range(3))
def test_synthetic_music_has_the_tempo_it_was_written_in(piece: int, arousal: float) -> None:
    seed = [7, piece]
    style = draw_style(part_streams(np.random.default_rng(seed))[0])
    curve = np.tile([0.2, arousal], (40, 1))
    samples = render(curve, np.random.default_rng(seed)).mean(axis=1).astype(np.float32)
    written = style.tempo_bpm * 2 ** (_TEMPO_OCTAVES * arousal)
    assert tempo_bpm(samples, RATE_HZ) == pytest.approx(written, rel=0.01)


def test_what_has_no_beat_has_no_tempo() -> None:
    time_s = np.arange(20 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(1).normal(0, 0.1, len(time_s)).astype(np.float32)
    tone = np.sin(2 * np.pi * 440 * time_s).astype(np.float32)
    silence = np.zeros_like(tone)
    assert [tempo_bpm(each, SAMPLE_RATE_HZ) for each in (noise, tone, silence)] == [None] * 3


def test_a_few_seconds_are_too_short() -> None:
    assert tempo_bpm(clicks(120, seconds=5.9), SAMPLE_RATE_HZ) is None
    assert tempo_bpm(clicks(120, seconds=8), SAMPLE_RATE_HZ) is not None
