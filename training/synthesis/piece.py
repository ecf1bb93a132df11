"""From a curve to a piece of music that follows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.synthesis.accompaniment import (
    play_bass,
    play_bells,
    play_comp,
    play_drone,
    play_pad,
)
from training.synthesis.drums import play_drums
from training.synthesis.emotion_curves import RATE_HZ as CURVE_RATE_HZ
from training.synthesis.harmony import harmonise
from training.synthesis.instruments import RATE_HZ, Samples, play, strike
from training.synthesis.melody import compose_melody
from training.synthesis.mixing import mix
from training.synthesis.notes import Note
from training.synthesis.rhythm import lay_grid
from training.synthesis.style import draw_style

# Balance of the parts, in dB.
_LEAD_DB, _PAD_DB, _COMP_DB, _BASS_DB = -6.5, -12.5, -10.0, -7.0
_BELLS_DB, _DRONE_DB, _DRUMS_DB = -10.0, -14.0, -6.0


def render(curve: NDArray[np.float64], rng: np.random.Generator) -> Samples:
    """Render a piece that follows ``curve``: stereo, shape (samples, 2), 24 kHz, within [-1, 1].

    ``curve`` is (T, 2) at 2 Hz, column 0 valence, column 1 arousal, in [-1, 1]; the piece lasts T/2
    seconds. All that is not emotion (key, motifs, instruments, room, mix) comes from ``rng`` alone:
    the same generator state with another curve gives the same piece in another mood. Raises
    ValueError where the curve is of another shape or leaves its range.
    """
    if curve.ndim != 2 or curve.shape[1] != 2 or len(curve) < 4:
        raise ValueError(f"a curve is (T, 2) with T of at least 4, not {curve.shape}")
    if not (np.abs(curve) <= 1).all():
        raise ValueError("a curve stays within [-1, 1]")
    style_rng, harmony_rng, melody_rng, accompaniment_rng, drums_rng, mix_rng = part_streams(rng)
    style = draw_style(style_rng)
    grid = lay_grid(
        curve,
        tempo_bpm=style.tempo_bpm,
        beats_per_bar=style.beats_per_bar,
        swing=style.swing,
    )
    chords = harmonise(grid, tonic=style.tonic, progression=style.progression, rng=harmony_rng)
    samples = round(len(curve) / CURVE_RATE_HZ * RATE_HZ)

    def tuned(notes: list[Note], level_db: float) -> list[Note]:
        return [
            note._replace(
                pitch=note.pitch + style.tuning_cents / 100,
                level_db=note.level_db + level_db,
            )
            for note in notes
        ]

    lead = tuned(compose_melody(grid, chords, melody_rng), _LEAD_DB)
    pad = tuned(play_pad(grid, chords), _PAD_DB)
    comp = tuned(play_comp(grid, chords, accompaniment_rng), _COMP_DB)
    bass = tuned(play_bass(grid, chords, accompaniment_rng), _BASS_DB)
    bells = tuned(play_bells(grid, chords, accompaniment_rng), _BELLS_DB)
    drone = tuned(play_drone(grid, chords), _DRONE_DB)
    buses = {
        "lead": play(style.lead, lead, samples),
        "pad": play(style.pad, pad, samples),
        "comp": play(style.comp, comp, samples),
        "bass": play(style.bass, bass, samples),
        "bells": strike(style.bells, bells, samples),
        "drone": play(style.drone, drone, samples),
        "drums": play_drums(grid, style, samples, drums_rng) * np.float32(10 ** (_DRUMS_DB / 20)),
    }
    return mix(buses, curve[:, 1], style, mix_rng)


def part_streams(rng: np.random.Generator) -> list[np.random.Generator]:
    """Streams of random numbers for style, harmony, melody, accompaniment, drums and mix.

    Each is apart from the others, so that how much one part draws never changes another.
    """
    return [np.random.default_rng(seed) for seed in rng.integers(2**63, size=6)]
