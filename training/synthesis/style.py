"""What makes a piece its own and says nothing of its emotion: key, instruments, room, mix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.synthesis.instruments import (
    BASSES,
    BELLS,
    COMPS,
    DRONES,
    LEADS,
    PADS,
    Instrument,
    StruckBar,
)

_Choice = TypeVar("_Choice")

PARTS = ("lead", "pad", "comp", "bass", "bells", "drone", "drums")

# Functions (0 tonic, 1 subdominant, 2 dominant) of four or eight chords in a row.
_PROGRESSIONS: tuple[tuple[int, ...], ...] = (
    (0, 1, 2, 0),
    (0, 2, 1, 0),
    (0, 1, 0, 2),
    (0, 0, 1, 2),
    (0, 2, 0, 1),
    (0, 1, 0, 2, 0, 1, 2, 0),
    (0, 0, 1, 1, 2, 1, 0, 2),
    (0, 2, 1, 2, 0, 1, 2, 2),
)


@dataclass(frozen=True)
class Style:
    """One draw of everything about a piece that does not depend on its curve.

    ``levels_db`` and ``pans`` (-1 left to 1 right) are keyed by part; ``eq_db`` is the gain at 100,
    400, 1,600 and 6,400 Hz; ``swing`` delays every other eighth, in
    sixteenths.
    """

    tonic: int
    tuning_cents: float
    beats_per_bar: int
    tempo_bpm: float
    swing: float
    progression: tuple[int, ...]
    lead: Instrument
    pad: Instrument
    comp: Instrument
    bass: Instrument
    bells: StruckBar
    drone: Instrument
    levels_db: dict[str, float]
    pans: dict[str, float]
    kick_hz: float
    snare_hz: float
    hat_decay_s: float
    reverberation_s: float
    reverberation_db: float
    eq_db: NDArray[np.float64]
    gain_db: float
    noise_dbfs: float


def draw_style(rng: np.random.Generator) -> Style:
    """Draw the style of a piece; the number of draws never depends on what was drawn."""

    def one_of(choices: tuple[_Choice, ...]) -> _Choice:
        return choices[int(rng.integers(len(choices)))]

    return Style(
        tonic=int(rng.integers(12)),
        tuning_cents=float(rng.uniform(-20, 20)),
        beats_per_bar=4 if rng.uniform() < 0.8 else 3,
        tempo_bpm=float(102 * 2 ** rng.uniform(-0.1, 0.1)),
        swing=float(rng.uniform(0.25, 0.6) * (rng.uniform() < 0.3)),
        progression=one_of(_PROGRESSIONS),
        lead=one_of(LEADS),
        pad=one_of(PADS),
        comp=one_of(COMPS),
        bass=one_of(BASSES),
        bells=one_of(BELLS),
        drone=one_of(DRONES),
        levels_db={part: float(rng.uniform(-1.5, 1.5)) for part in PARTS},
        pans={part: float(rng.uniform(-0.5, 0.5)) for part in PARTS},
        kick_hz=float(rng.uniform(44, 60)),
        snare_hz=float(rng.uniform(165, 230)),
        hat_decay_s=float(rng.uniform(0.03, 0.08)),
        reverberation_s=float(rng.uniform(0.5, 1.8)),
        reverberation_db=float(rng.uniform(-20, -11)),
        eq_db=rng.uniform(-1.5, 1.5, size=4),
        gain_db=float(rng.uniform(-1.5, 1.5)),
        noise_dbfs=float(rng.uniform(-80, -66)),
    )
