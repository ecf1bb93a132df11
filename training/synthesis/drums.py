"""A drum kit of noise and sines, and patterns that thicken as arousal rises."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from training.synthesis.instruments import RATE_HZ, Samples
from training.synthesis.rhythm import TICKS_PER_BEAT, Grid, onset_thresholds
from training.synthesis.style import Style

# How far above its threshold (in arousal) a stroke reaches its full level, and how far below full
# it enters: drums slip in rather than burst in.
_ENTRY_SPAN = 0.5
_ENTRY_DB = -14.0


def play_drums(grid: Grid, style: Style, samples: int, rng: np.random.Generator) -> Samples:
    """Play the kit over the whole piece: mono, shape (samples,)."""
    bus = np.zeros(samples, dtype=np.float32)
    kit = _build_kit(style, rng)
    thresholds = _draw_patterns(grid.beats_per_bar, rng)
    humanised_db = rng.normal(0, 0.8, size=256)
    for drum, sound in kit.items():
        pattern = thresholds[drum]
        for tick in range(grid.ticks):
            above = grid.arousal[tick] - pattern[tick % len(pattern)]
            if above < 0:
                continue
            level_db = _ENTRY_DB * max(1 - above / _ENTRY_SPAN, 0) + humanised_db[tick % 256]
            start = round(grid.times_s[tick] * RATE_HZ)
            stroke = sound[: samples - start]
            bus[start : start + len(stroke)] += stroke * np.float32(10 ** (level_db / 20))
    return bus


def _draw_patterns(beats_per_bar: int, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Arousal from which each drum plays each tick of two bars."""
    never = 9.0
    ticks = 2 * beats_per_bar * TICKS_PER_BEAT
    beat = np.arange(ticks) // TICKS_PER_BEAT % beats_per_bar
    on_beat = np.arange(ticks) % TICKS_PER_BEAT == 0
    backbeat = on_beat & ((beat % 2 == 1) if beats_per_bar == 4 else (beat > 0))
    kick = np.where(on_beat & ~backbeat, -0.4, never)
    syncopation = rng.uniform(size=ticks) < 0.15
    kick = np.where(syncopation & ~backbeat & ~on_beat, 0.35, kick)
    snare = np.where(backbeat, -0.1, never)
    hat = onset_thresholds(rng, beats_per_bar, looseness=0.15)
    return {"kick": kick, "snare": snare, "hat": np.maximum(hat, -0.6)}


def _build_kit(style: Style, rng: np.random.Generator) -> dict[str, Samples]:
    return {
        "kick": _kick(style.kick_hz),
        "snare": _snare(style.snare_hz, rng),
        "hat": _hat(style.hat_decay_s, rng),
    }


def _kick(hertz: float) -> Samples:
    time_s = np.arange(int(0.35 * RATE_HZ)) / RATE_HZ
    sweep = 2 * np.pi * (hertz * time_s + 3.5 * hertz * 0.03 * (1 - np.exp(-time_s / 0.03)))
    return (0.42 * np.sin(sweep) * np.exp(-time_s / 0.1)).astype(np.float32)


def _snare(hertz: float, rng: np.random.Generator) -> Samples:
    time_s = np.arange(int(0.28 * RATE_HZ)) / RATE_HZ
    rattle = lfilter([1, -0.7], [1, -0.2], rng.standard_normal(len(time_s)))
    skin = np.sin(2 * np.pi * hertz * time_s) * np.exp(-time_s / 0.05)
    stroke = 0.11 * rattle * np.exp(-time_s / 0.06) + 0.2 * skin
    return np.asarray(stroke, dtype=np.float32)


def _hat(decay_s: float, rng: np.random.Generator) -> Samples:
    time_s = np.arange(int(5 * decay_s * RATE_HZ)) / RATE_HZ
    # Two differences leave only the top of the noise: a hat has no body.
    hiss = np.diff(rng.standard_normal(len(time_s) + 2), n=2)
    return (0.02 * hiss * np.exp(-time_s / decay_s)).astype(np.float32)
