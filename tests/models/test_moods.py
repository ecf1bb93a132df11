"""Russell's 28 words on the circle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.moods import MOOD_ANGLES_DEG, NEUTRAL_RADIUS, mood_curves, mood_point, nearest_mood


def test_there_are_28_words_at_28_angles() -> None:
    assert len(MOOD_ANGLES_DEG) == 28
    assert len(set(MOOD_ANGLES_DEG.values())) == 28
    assert all(0 <= angle < 360 for angle in MOOD_ANGLES_DEG.values())


@pytest.mark.parametrize("word", MOOD_ANGLES_DEG)
def test_every_word_lies_on_the_unit_circle_at_its_angle(word: str) -> None:
    valence, arousal = mood_point(word)
    assert math.hypot(valence, arousal) == pytest.approx(1.0, abs=2e-6)
    assert math.degrees(math.atan2(arousal, valence)) % 360 == pytest.approx(
        MOOD_ANGLES_DEG[word], abs=1e-3
    )


@pytest.mark.parametrize(
    ("word", "valence_sign", "arousal_sign"),
    [
        ("happy", 1, 1),
        ("excited", 1, 1),
        ("angry", -1, 1),
        ("afraid", -1, 1),
        ("sad", -1, -1),
        ("bored", -1, -1),
        ("calm", 1, -1),
        ("serene", 1, -1),
    ],
)
def test_words_lie_where_one_would_look(word: str, valence_sign: int, arousal_sign: int) -> None:
    valence, arousal = mood_point(word)
    assert (math.copysign(1, valence), math.copysign(1, arousal)) == (valence_sign, arousal_sign)


@pytest.mark.parametrize("radius", [0.11, 0.5, 1.0, math.sqrt(2)])
@pytest.mark.parametrize("word", MOOD_ANGLES_DEG)
def test_a_words_own_point_has_its_name(word: str, radius: float) -> None:
    valence, arousal = mood_point(word)
    assert nearest_mood(valence=radius * valence, arousal=radius * arousal) == word


@given(valence=st.floats(-1, 1), arousal=st.floats(-1, 1))
def test_no_word_is_nearer_than_the_nearest(valence: float, arousal: float) -> None:
    radius = math.hypot(valence, arousal)
    assume(abs(radius - NEUTRAL_RADIUS) > 1e-9)
    found = nearest_mood(valence=valence, arousal=arousal)
    if radius < NEUTRAL_RADIUS:
        assert found == "neutral"
        return

    def cosine(word: str) -> float:
        angle = math.radians(MOOD_ANGLES_DEG[word])
        return (math.cos(angle) * valence + math.sin(angle) * arousal) / radius

    assert cosine(found) >= max(map(cosine, MOOD_ANGLES_DEG)) - 1e-9


def test_angles_wrap_around() -> None:
    assert nearest_mood(valence=1.0, arousal=0.0) == "pleased"
    assert nearest_mood(valence=1.0, arousal=0.05) == "happy"


def test_an_unknown_word() -> None:
    with pytest.raises(KeyError):
        mood_point("hangry")


@pytest.mark.parametrize("word", MOOD_ANGLES_DEG)
def test_curves_rest_rise_and_fall(word: str) -> None:
    point = np.array(mood_point(word))
    curves = mood_curves(word)
    assert set(curves) == {"constant", "rising", "falling"}
    for curve in curves.values():
        assert curve.values.shape == (60, 2)
        assert np.abs(curve.values).max() <= 1.0
    assert (curves["constant"].values == point).all()
    assert curves["rising"].values[0].tolist() == [0.0, 0.0]
    assert curves["rising"].values[-1].tolist() == point.tolist()
    assert np.array_equal(curves["falling"].values, curves["rising"].values[::-1])
    radius = np.linalg.norm(curves["rising"].values, axis=1)
    assert (np.diff(radius) > 0).all()
