"""Time in a piece: a tempo that follows arousal, and the grid of sixteenths that parts play on.

Faster tempo and more onsets are the strongest cues of arousal (Gabrielsson & Lindström 2010;
Eerola, Friberg & Bresin 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from training.synthesis.emotion_curves import RATE_HZ

TICKS_PER_BEAT = 4
MOTIF_BARS = 2

_TEMPO_STEP_S = 0.05
_TEMPO_INERTIA_S = 0.6
_TEMPO_OCTAVES = 0.6
# The arousal at which a tick of each metrical weight starts to sound.
_BAR, _HALF_BAR, _BEAT, _EIGHTH, _SIXTEENTH = -3.0, -0.95, -0.55, 0.05, 0.7


@dataclass(frozen=True)
class Grid:
    """The sixteenths of a piece: when each sounds, and what the curve says at that time.

    ``times_s`` (n + 1,) ends with the first tick after the piece; ``arousal`` and ``valence`` (n,).
    """

    times_s: NDArray[np.float64]
    arousal: NDArray[np.float64]
    valence: NDArray[np.float64]
    beats_per_bar: int

    @property
    def ticks(self) -> int:
        """How many sixteenths start within the piece."""
        return len(self.arousal)

    @property
    def ticks_per_bar(self) -> int:
        """Sixteenths in a bar."""
        return self.beats_per_bar * TICKS_PER_BEAT

    @property
    def ticks_per_chord(self) -> int:
        """Harmony changes twice in a bar of four, once in a bar of three."""
        return 2 * TICKS_PER_BEAT if self.beats_per_bar == 4 else self.ticks_per_bar


def lay_grid(
    curve: NDArray[np.float64], *, tempo_bpm: float, beats_per_bar: int, swing: float
) -> Grid:
    """Place the sixteenths of a piece that follows ``curve`` (T, 2) at 2 Hz.

    ``tempo_bpm`` is the tempo at arousal 0; a unit of arousal changes it by 0.6 octaves, with the
    inertia of players who cannot change tempo within a beat. ``swing`` is by how much of a
    sixteenth the second eighth of each beat comes late: 0 is straight, 2/3 is triplets.
    """
    duration_s = len(curve) / RATE_HZ
    times_s = np.arange(0.0, duration_s + 4.0, _TEMPO_STEP_S)
    _, arousal = read_curve(curve, times_s)
    steady = gaussian_filter1d(arousal, _TEMPO_INERTIA_S / _TEMPO_STEP_S, mode="nearest")
    ticks_per_s = tempo_bpm / 60 * TICKS_PER_BEAT * 2 ** (_TEMPO_OCTAVES * steady)
    position = np.concatenate([[0.0], np.cumsum(ticks_per_s[:-1] * _TEMPO_STEP_S)])
    ticks = np.arange(np.floor(position[-1]))
    late = swing * np.array([0.0, 0.5, 1.0, 0.5])[ticks.astype(int) % TICKS_PER_BEAT]
    tick_times_s = np.interp(ticks + late, position, times_s)
    inside = int(np.searchsorted(tick_times_s, duration_s))
    valence, arousal = read_curve(curve, tick_times_s[:inside])
    return Grid(tick_times_s[: inside + 1], arousal, valence, beats_per_bar)


def read_curve(
    curve: NDArray[np.float64], times_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Valence and arousal of ``curve`` (T, 2) at any times, its ends held."""
    own_times_s = np.arange(len(curve)) / RATE_HZ
    return np.interp(times_s, own_times_s, curve[:, 0]), np.interp(
        times_s, own_times_s, curve[:, 1]
    )


def onset_thresholds(
    rng: np.random.Generator, beats_per_bar: int, *, looseness: float
) -> NDArray[np.float64]:
    """Arousal from which each tick of a motif of two bars is played, shape (ticks,).

    The metrical hierarchy orders the ticks and ``looseness`` (in arousal) shuffles neighbours, so
    that every part has a rhythm of its own that thickens, and never changes, as arousal rises.
    """
    bar = np.full(beats_per_bar * TICKS_PER_BEAT, _SIXTEENTH)
    bar[::2] = _EIGHTH
    bar[::TICKS_PER_BEAT] = _BEAT
    if beats_per_bar == 4:
        bar[2 * TICKS_PER_BEAT] = _HALF_BAR
    bar[0] = _BAR
    motif = np.tile(bar, MOTIF_BARS)
    return motif + rng.uniform(-looseness, looseness, size=len(motif))
