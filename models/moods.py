"""Mood words as points of the circumplex.

The 28 words and their angles are those of Russell, J. A. (1980), "A circumplex model of affect",
Journal of Personality and Social Psychology 39(6), 1161-1178: the direct circular scaling, in
degrees from pleasure (valence) counter-clockwise over arousal, all on the unit circle.
"""

from __future__ import annotations

import numpy as np

from models.curve import WINDOW_STEPS, Curve

MOOD_ANGLES_DEG: dict[str, float] = {
    "happy": 7.8,
    "delighted": 24.9,
    "excited": 48.6,
    "astonished": 69.8,
    "aroused": 73.8,
    "tense": 92.8,
    "alarmed": 96.5,
    "angry": 99.0,
    "afraid": 116.0,
    "annoyed": 123.0,
    "distressed": 138.0,
    "frustrated": 141.0,
    "miserable": 188.7,
    "sad": 207.5,
    "gloomy": 209.0,
    "depressed": 211.0,
    "bored": 242.0,
    "droopy": 256.6,
    "tired": 267.7,
    "sleepy": 271.9,
    "calm": 316.2,
    "relaxed": 318.0,
    "satisfied": 319.0,
    "at ease": 321.0,
    "content": 323.0,
    "serene": 328.6,
    "glad": 349.0,
    "pleased": 353.2,
}

NEUTRAL_RADIUS = 0.1
"""Closer to the origin than this, a point has no angle worth a mood word: it is ``neutral``."""


def mood_point(word: str) -> tuple[float, float]:
    """Return (valence, arousal) of a mood word, on the unit circle.

    Raises:
        KeyError: ``word`` is none of :data:`MOOD_ANGLES_DEG`.
    """
    angle = np.deg2rad(MOOD_ANGLES_DEG[word])
    return round(float(np.cos(angle)), 6), round(float(np.sin(angle)), 6)


def mood_curves(word: str) -> dict[str, Curve]:
    """Return the three 30 s curves of a mood: ``constant``, ``rising`` and ``falling``.

    *Rising* grows from the neutral point to the mood, *falling* fades from the mood to neutral.
    """
    point = np.array(mood_point(word))
    ramp = np.linspace(0.0, 1.0, WINDOW_STEPS)[:, None]
    return {
        "constant": Curve(np.tile(point, (WINDOW_STEPS, 1))),
        "rising": Curve(ramp * point),
        "falling": Curve(ramp[::-1] * point),
    }


def nearest_mood(*, arousal: float, valence: float) -> str:
    """Name the mood closest in angle to a point in [-1, 1]²; near the origin ``neutral``."""
    if np.hypot(arousal, valence) < NEUTRAL_RADIUS:
        return "neutral"
    angle = np.rad2deg(np.arctan2(arousal, valence)) % 360
    words = list(MOOD_ANGLES_DEG)
    apart = np.abs(np.array(list(MOOD_ANGLES_DEG.values())) - angle)
    return words[int(np.argmin(np.minimum(apart, 360 - apart)))]
