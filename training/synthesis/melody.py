"""A melody of motifs: one contour and rhythm a piece, moved over the chords, rising or falling.

A higher register and rising lines are heard as positive, low and falling ones as negative
(Gabrielsson & Lindström 2010); louder, brighter and detached tones as aroused (Juslin & Laukka
2003).
"""

from __future__ import annotations

import numpy as np

from training.synthesis.harmony import Chord, nearest_pitch
from training.synthesis.notes import Note
from training.synthesis.rhythm import MOTIF_BARS, TICKS_PER_BEAT, Grid, onset_thresholds

_REGISTER = 69.0
_REGISTER_SPAN = 9.0
_CONTOUR_SPAN = 5.0
# Which of two motifs each stretch of two bars takes: a phrase says one thing twice, then another.
_PHRASE = (0, 0, 1, 0)


def compose_melody(grid: Grid, chords: list[Chord], rng: np.random.Generator) -> list[Note]:
    """Write the melody, a list of notes in time order."""
    motif_ticks = MOTIF_BARS * grid.ticks_per_bar
    thresholds = [onset_thresholds(rng, grid.beats_per_bar, looseness=0.4) for _ in range(2)]
    contours = [_draw_contour(rng, motif_ticks) for _ in range(2)]
    accents_db = rng.normal(0, 1.2, size=motif_ticks)
    chord_at = {
        tick: chord for chord in chords for tick in range(chord.first_tick, chord.last_tick)
    }

    onsets = [
        tick
        for tick in range(grid.ticks)
        if grid.arousal[tick] >= _onset_threshold(tick, motif_ticks, thresholds)
    ]
    notes = []
    for tick, following in zip(onsets, [*onsets[1:], grid.ticks], strict=True):
        arousal, valence = grid.arousal[tick], grid.valence[tick]
        motif, place = _PHRASE[tick // motif_ticks % len(_PHRASE)], tick % motif_ticks
        line = valence * _CONTOUR_SPAN * (2 * place / motif_ticks - 1)
        target = _REGISTER + _REGISTER_SPAN * valence + line + contours[motif][place]
        chord = chord_at[tick]
        stressed = tick % TICKS_PER_BEAT == 0
        pitch = nearest_pitch(target, chord.pitch_classes if stressed else chord.scale)
        # A tone is never held over more than a bar, lest a quiet passage freeze on one pitch.
        until = min(following, tick + grid.ticks_per_bar)
        gap_s = grid.times_s[until] - grid.times_s[tick]
        notes.append(
            Note(
                start_s=float(grid.times_s[tick]),
                duration_s=float(gap_s * articulation(arousal)),
                pitch=pitch,
                level_db=float(accents_db[place] + 1.5 * stressed),
                brightness=float(0.5 + 0.45 * arousal),
            )
        )
    return notes


def articulation(arousal: float) -> float:
    """The sounding share of the time between two onsets: legato 1.0 when calm, staccato 0.4."""
    return float(np.clip(0.72 - 0.32 * arousal, 0.4, 1.05))


def _onset_threshold(tick: int, motif_ticks: int, thresholds: list[np.ndarray]) -> float:
    motif = _PHRASE[tick // motif_ticks % len(_PHRASE)]
    # The end of every stretch leaves room to breathe.
    breath = 0.5 if tick % motif_ticks >= motif_ticks - TICKS_PER_BEAT else 0.0
    return float(thresholds[motif][tick % motif_ticks]) + breath


def _draw_contour(rng: np.random.Generator, ticks: int) -> np.ndarray:
    """A walk in semitones, mostly stepwise, that comes back to where it set out."""
    walk = np.cumsum(rng.choice([-3, -2, -1, 0, 1, 2, 3], size=ticks).astype(np.float64))
    home = np.linspace(walk[0], walk[-1], ticks)
    return np.asarray(np.clip(0.6 * (walk - home), -6, 6))
