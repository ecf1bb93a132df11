"""Modes and chords that darken as valence falls, voiced with small steps around a register.

Major mode, consonance and a high register are heard as positive; minor mode, diminished harmony,
dissonance and a low register as negative (Gabrielsson & Lindström 2010; Juslin & Laukka 2003;
Eerola, Friberg & Bresin 2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from training.synthesis.rhythm import Grid

# Six modes on one tonic, from the brightest to the darkest (semitones above the tonic).
MODES: tuple[tuple[int, ...], ...] = (
    (0, 2, 4, 5, 7, 9, 11),  # Ionian
    (0, 2, 4, 5, 7, 9, 10),  # Mixolydian
    (0, 2, 3, 5, 7, 9, 10),  # Dorian
    (0, 2, 3, 5, 7, 8, 10),  # Aeolian
    (0, 1, 3, 5, 7, 8, 10),  # Phrygian
    (0, 1, 3, 5, 6, 8, 10),  # Locrian
)
# Scale degrees that serve as tonic, subdominant and dominant in each mode, chosen so that bright
# modes stay on major triads and dark ones on minor triads.
_FUNCTIONS: tuple[tuple[int, int, int], ...] = (
    (0, 3, 4),
    (0, 3, 6),
    (0, 3, 4),
    (0, 3, 4),
    (0, 3, 6),
    (0, 1, 2),
)
# Ionian and Aeolian state their thirds plainly; the modes between them add sevenths.
_TRIADS = (0, 3)
_DIMINISHED_SEVENTH = (0, 3, 6, 9)
_PAD_REGISTER = 58.0
_PAD_REGISTER_SPAN = 8.0


@dataclass(frozen=True)
class Chord:
    """A chord from one tick to another: its scale, its root and its voices as MIDI pitches."""

    first_tick: int
    last_tick: int
    scale: tuple[int, ...]
    root: int
    pitch_classes: tuple[int, ...]
    voicing: tuple[int, ...]


def harmonise(
    grid: Grid, *, tonic: int, progression: tuple[int, ...], rng: np.random.Generator
) -> list[Chord]:
    """Write the chords of a piece: ``tonic`` a pitch class, ``progression`` functions 0 to 2."""
    # Dithering between neighbouring modes lets six of them render a continuous valence.
    dither = rng.uniform(-0.5, 0.5, size=256)
    chords: list[Chord] = []
    previous: tuple[int, ...] | None = None
    for slot, first in enumerate(range(0, grid.ticks, grid.ticks_per_chord)):
        last = min(first + grid.ticks_per_chord, grid.ticks)
        # A chord sounds until its end, so it speaks for its middle rather than for its start.
        valence = float(grid.valence[(first + last) // 2])
        darkness = int(np.clip(np.round(2.2 - 2.9 * valence + dither[slot % 256]), 0, 5))
        degree = _FUNCTIONS[darkness][progression[slot % len(progression)]]
        root, pitch_classes, scale = _spell(darkness, degree, tonic)
        register = _PAD_REGISTER + _PAD_REGISTER_SPAN * valence
        previous = _lead_voices(pitch_classes, register, previous)
        chords.append(Chord(first, last, scale, root, pitch_classes, previous))
    return chords


def _spell(darkness: int, degree: int, tonic: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    mode = MODES[darkness]
    root = (tonic + mode[degree]) % 12
    scale = tuple(sorted((tonic + step) % 12 for step in mode))
    if darkness == len(MODES) - 1:
        return root, tuple((root + step) % 12 for step in _DIMINISHED_SEVENTH), scale
    thirds = (0, 2, 4) if darkness in _TRIADS else (0, 2, 4, 6)
    classes = tuple((tonic + mode[(degree + third) % 7]) % 12 for third in thirds)
    return root, classes, scale


def _lead_voices(
    pitch_classes: tuple[int, ...], register: float, previous: tuple[int, ...] | None
) -> tuple[int, ...]:
    """The close position with the least movement that stays near the register."""

    def cost(voicing: tuple[int, ...]) -> float:
        away = abs(sum(voicing) / len(voicing) - register)
        if previous is None:
            return away
        moved = sum(min(abs(pitch - old) for old in previous) for pitch in voicing)
        return 1.5 * away + 0.5 * moved

    return min(_close_positions(pitch_classes, register), key=cost)


def _close_positions(pitch_classes: tuple[int, ...], register: float) -> Iterator[tuple[int, ...]]:
    around = int(register)
    for bottom_class, octave in product(pitch_classes, (-2, -1, 0)):
        bottom = around + 12 * octave + (bottom_class - around) % 12
        yield tuple(sorted(bottom + (other - bottom_class) % 12 for other in pitch_classes))


def nearest_pitch(target: float, pitch_classes: tuple[int, ...]) -> int:
    """The MIDI pitch nearest to ``target`` among those of the given pitch classes."""
    around = int(np.floor(target))
    candidates = [p for p in range(around - 6, around + 8) if p % 12 in pitch_classes]
    return min(candidates, key=lambda pitch: abs(pitch - target))
