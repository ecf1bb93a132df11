"""Similarities: 0 at unrelated pairs, 1 at close ones, rising between, whatever λ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration import DIRECTIONS, Direction, PairSample, SimilarityCalibration
from models.similarity import composite

SCALE = 0.25
WEIGHTS = [0.0, 0.3, 1.0]


def calibration(seed: int = 0) -> SimilarityCalibration:
    """Draw pairs as a trained model has them, other ones in each direction."""
    rng = np.random.default_rng(seed)
    return SimilarityCalibration(
        {
            direction: PairSample(
                np.stack([rng.uniform(0.4, 0.9, 200), rng.uniform(0.1, 0.6, 200)], axis=1),
                np.stack([rng.uniform(-0.5, 0.5, 300), rng.uniform(0.5, 4.0, 300)], axis=1),
            )
            for direction in DIRECTIONS
        },
        SCALE,
    )


def scores_of(
    pairs: np.ndarray[tuple[int, ...], np.dtype[np.float64]], weight: float
) -> list[float]:
    return [weight * rho - (1 - weight) * SCALE * kl for rho, kl in pairs]


def test_directions() -> None:
    assert DIRECTIONS == ("m2e", "e2m", "m2m")


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
class TestEnds:
    def test_unrelated_pairs_are_at_zero(self, direction: Direction, weight: float) -> None:
        fitted = calibration()
        scores = sorted(scores_of(fitted.samples[direction].unrelated, weight))
        median = (scores[149] + scores[150]) / 2
        assert fitted.similarity(np.array([median]), direction, weight)[0] == pytest.approx(0)
        found = fitted.similarity(np.array(scores), direction, weight)
        assert (found[:150] == 0).all()
        assert np.median(found) == pytest.approx(0, abs=0.02)

    def test_close_pairs_are_at_one(self, direction: Direction, weight: float) -> None:
        fitted = calibration()
        scores = np.sort(scores_of(fitted.samples[direction].true, weight))
        found = fitted.similarity(scores, direction, weight)
        assert found[-1] == 1
        assert (found[:-1] < 1).all()
        assert found.min() >= 0

    def test_between_them_it_is_linear(self, direction: Direction, weight: float) -> None:
        fitted = calibration()
        low = float(np.median(scores_of(fitted.samples[direction].unrelated, weight)))
        high = max(scores_of(fitted.samples[direction].true, weight))
        shares = np.linspace(0, 1, 11)
        found = fitted.similarity(low + shares * (high - low), direction, weight)
        assert found == pytest.approx(shares, abs=1e-9)


@given(
    scores=st.lists(st.floats(-1e6, 1.0), min_size=1, max_size=30),
    weight=st.floats(0.0, 1.0),
    direction=st.sampled_from(DIRECTIONS),
)
def test_never_decreases_and_stays_inside(
    scores: list[float], weight: float, direction: Direction
) -> None:
    found = calibration().similarity(np.sort(scores), direction, weight)
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_model_that_cannot_tell_pairs_apart_still_gives_an_order(weight: float) -> None:
    same = np.array([[0.1, 1.0]] * 5)
    fitted = SimilarityCalibration({"m2e": PairSample(same, same)}, SCALE)
    here = composite(same[:1, 0], same[:1, 1], weight=weight, divergence_scale=SCALE)[0]
    found = fitted.similarity(np.array([here - 1, here, here + 1]), "m2e", weight)
    assert found.tolist() == [0.0, 0.0, 1.0]


def test_directions_are_calibrated_apart() -> None:
    fitted = calibration()
    score = np.array([0.1])
    found = {float(fitted.similarity(score, direction, 0.3)[0]) for direction in DIRECTIONS}
    assert len(found) == 3
