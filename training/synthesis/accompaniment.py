"""The other parts: pad, broken chords, bass, bells and a dark drone.

Bells shine through as valence rises and a low drone with minor seconds and tritones, which beat
and are heard as rough and negative, as it falls. Their levels move in decibels, linearly with
valence, so that each shade of it sounds different.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.synthesis.harmony import Chord, nearest_pitch
from training.synthesis.melody import articulation
from training.synthesis.notes import Note
from training.synthesis.rhythm import MOTIF_BARS, Grid, onset_thresholds

_COMP_REGISTER = 64.0
_BASS_REGISTER = 42.0
_BELL_REGISTER = 88.0
_DRONE_REGISTER = 46.0
# Semitones above the root: the root itself, a minor second and a tritone.
_DRONE_CLUSTER = (0, 1, 6)
_ROUGHNESS_CENTS = 20.0


def play_pad(grid: Grid, chords: list[Chord]) -> list[Note]:
    """Sustained chords, overlapping, whose unisons go out of tune as valence falls."""
    notes = []
    for chord in chords:
        start_s, end_s = grid.times_s[chord.first_tick], grid.times_s[chord.last_tick]
        arousal = grid.arousal[chord.first_tick]
        valence = grid.valence[(chord.first_tick + chord.last_tick) // 2]
        for pitch in chord.voicing:
            notes.append(
                Note(
                    start_s=float(start_s),
                    duration_s=float(end_s - start_s),
                    pitch=pitch,
                    level_db=-3.0 if pitch % 12 != chord.root else -1.5,
                    brightness=float(0.45 + 0.35 * arousal),
                    detune_cents=float(_ROUGHNESS_CENTS * max(-valence, 0.0)),
                )
            )
    return notes


def play_comp(grid: Grid, chords: list[Chord], rng: np.random.Generator) -> list[Note]:
    """Broken chords: the piece's own order of voices on the piece's own rhythm."""
    thresholds = onset_thresholds(rng, grid.beats_per_bar, looseness=0.3) - 0.15
    order = rng.permutation(4)
    accents_db = rng.normal(0, 1.0, size=len(thresholds))
    notes = []
    for count, (tick, following, chord) in enumerate(_onsets(grid, chords, thresholds)):
        arousal, valence = float(grid.arousal[tick]), float(grid.valence[tick])
        voice = int(order[count % 4]) % len(chord.pitch_classes)
        target = _COMP_REGISTER + 8.0 * valence + 4.0 * (voice - 1.5)
        pitches = {nearest_pitch(target, (chord.pitch_classes[voice],))}
        if tick == chord.first_tick:
            # The first stroke of a chord is two tones wide: it states the harmony.
            pitches.add(nearest_pitch(target - 7, chord.pitch_classes))
        gap_s = float(grid.times_s[following] - grid.times_s[tick])
        for pitch in sorted(pitches):
            notes.append(
                Note(
                    start_s=float(grid.times_s[tick]),
                    duration_s=gap_s * articulation(arousal),
                    pitch=pitch,
                    level_db=float(accents_db[tick % len(thresholds)]),
                    brightness=0.5 + 0.45 * arousal,
                )
            )
    return notes


def play_bass(grid: Grid, chords: list[Chord], rng: np.random.Generator) -> list[Note]:
    """Roots on the strong ticks, fifths and thirds of the chord between them."""
    thresholds = onset_thresholds(rng, grid.beats_per_bar, looseness=0.25) + 0.1
    leaps = rng.choice([0, 0, 0, 1, 2], size=len(thresholds))
    notes = []
    for tick, following, chord in _onsets(grid, chords, thresholds):
        arousal, valence = float(grid.arousal[tick]), float(grid.valence[tick])
        leap = 0 if tick == chord.first_tick else int(leaps[tick % len(thresholds)])
        pitch = nearest_pitch(_BASS_REGISTER + 4.0 * valence, (chord.pitch_classes[leap],))
        gap_s = float(grid.times_s[following] - grid.times_s[tick])
        notes.append(
            Note(
                start_s=float(grid.times_s[tick]),
                duration_s=gap_s * max(articulation(arousal), 0.55),
                pitch=pitch,
                level_db=0.0 if tick == chord.first_tick else -1.5,
                brightness=0.45 + 0.4 * arousal,
            )
        )
    return notes


def play_bells(grid: Grid, chords: list[Chord], rng: np.random.Generator) -> list[Note]:
    """High bells on chord tones, upwards, from inaudible at valence -1 to sparkling at 1."""
    thresholds = onset_thresholds(rng, grid.beats_per_bar, looseness=0.2) - 0.5
    notes = []
    for count, (tick, _, chord) in enumerate(_onsets(grid, chords, thresholds)):
        valence = float(grid.valence[tick])
        target = _BELL_REGISTER + 5.0 * valence + 4.0 * (count % 4 - 1.5)
        pitch = nearest_pitch(target, chord.pitch_classes)
        notes.append(Note(float(grid.times_s[tick]), 0.0, pitch, -14.0 + 13.0 * valence, 0.5))
    return notes


def play_drone(grid: Grid, chords: list[Chord]) -> list[Note]:
    """A low cluster on the root that rises out of the ground as valence falls."""
    notes = []
    # A stroke a beat or two lets the drone follow a jump of valence within a chord.
    for chord in chords:
        middle = (chord.first_tick + chord.last_tick) // 2
        for first, last in ((chord.first_tick, middle), (middle, chord.last_tick)):
            valence = float(grid.valence[first])
            start_s = float(grid.times_s[first])
            root = nearest_pitch(_DRONE_REGISTER, (chord.root,))
            level_db = -11.0 - 13.0 * valence
            # In a neutral passage only the root is left of the cluster.
            clash_fall_db = 1.0 + 8.0 * (1 + valence)
            for step in _DRONE_CLUSTER:
                notes.append(
                    Note(
                        start_s=start_s,
                        duration_s=float(grid.times_s[last]) - start_s,
                        pitch=root + step,
                        level_db=level_db if step == 0 else level_db - clash_fall_db,
                        brightness=0.5 + 0.3 * float(grid.arousal[first]),
                        detune_cents=_ROUGHNESS_CENTS * max(-valence, 0.0),
                    )
                )
    return notes


def _onsets(
    grid: Grid, chords: list[Chord], thresholds: np.ndarray
) -> Iterator[tuple[int, int, Chord]]:
    """Ticks on which a part plays, the tick of its next onset and the chord that sounds.

    Every chord is announced by an onset at its first tick, whatever the arousal.
    """
    motif_ticks = MOTIF_BARS * grid.ticks_per_bar
    for chord in chords:
        ticks = [
            tick
            for tick in range(chord.first_tick, chord.last_tick)
            if tick == chord.first_tick or grid.arousal[tick] >= thresholds[tick % motif_ticks]
        ]
        for tick, following in zip(ticks, [*ticks[1:], chord.last_tick], strict=True):
            yield tick, following, chord
