"""The note, the one thing that every part writes and every instrument reads."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """One tone: when, how long, which pitch (MIDI, 69 = 440 Hz), how loud and with what timbre.

    ``level_db`` is relative to the part; ``brightness`` lies in [0, 1]; ``detune_cents`` widens the
    interval between the two oscillators of the tone, and with it the roughness.
    """

    start_s: float
    duration_s: float
    pitch: float
    level_db: float
    brightness: float
    detune_cents: float = 0.0
