"""Arousal and valence of a recording, against plain loops over references, windows and steps."""

from __future__ import annotations

import inspect
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.estimate import Estimate, EstimateCalibration, Estimator, weighted_curves
from models.moods import nearest_mood
from models.similarity import Encodings, composite_similarity
from models.windows import window_starts_s

PLAIN = EstimateCalibration(0.4, 0.2, (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0))
FITTED = EstimateCalibration(
    0.7, 0.1, (1.3, 0.8), (-0.1, 0.05), (0.9, 1.4), (0.05, 0.08), (0.8, 0.95)
)
SCALE = 0.05


def encodings(rng: np.random.Generator, count: int) -> Encodings:
    shape = (count, 6)
    return Encodings(rng.normal(size=shape), rng.normal(size=shape), rng.uniform(0.1, 1, shape))


def estimator(calibration: EstimateCalibration, *, seed: int = 0, references: int = 9) -> Estimator:
    rng = np.random.default_rng(seed)
    curves = rng.uniform(-1, 1, (references, 60, 2))
    return Estimator(encodings(rng, references), curves, calibration, SCALE)


def windows_of(duration_s: float, seed: int = 3) -> tuple[Encodings, list[float]]:
    starts_s = window_starts_s(duration_s)
    return encodings(np.random.default_rng(seed), len(starts_s)), starts_s


def oracle_window(model: Estimator, window: Encodings, step: int, axis: int) -> tuple[float, float]:
    """Return value and deviation of one window at one step, by loops."""
    fitted = model.calibration
    scores = composite_similarity(
        window, model.references, weight=fitted.weight, divergence_scale=SCALE
    )[0]
    shares = [math.exp((score - scores.max()) / fitted.temperature) for score in scores]
    total = sum(shares)
    mean = sum(s * c[step, axis] for s, c in zip(shares, model.curves, strict=True)) / total
    variance = (
        sum(s * (c[step, axis] - mean) ** 2 for s, c in zip(shares, model.curves, strict=True))
        / total
    )
    value = min(max(fitted.slope[axis] * mean + fitted.intercept[axis], -1.0), 1.0)
    return value, max(fitted.spread[axis] * math.sqrt(variance), fitted.floor[axis])


@pytest.mark.parametrize("calibration", [PLAIN, FITTED])
@pytest.mark.parametrize("duration_s", [3.0, 30.0, 45.0, 52.3, 76.0])
def test_against_loops(calibration: EstimateCalibration, duration_s: float) -> None:
    model = estimator(calibration)
    windows, starts_s = windows_of(duration_s)
    found = model.estimate(windows, starts_s, duration_s)
    steps = math.ceil(2 * duration_s)
    assert found.curve.values.shape == found.sd.shape == (steps, 2)
    for step in (0, 1, steps // 3, steps // 2, steps - 2, steps - 1):
        for axis in (0, 1):
            value = deviation = nearness = 0.0
            for row, start_s in enumerate(starts_s):
                inside = step - round(2 * start_s)
                if not 0 <= inside < 60:
                    continue
                weight = 30.5 - abs(inside - 29.5)
                window_value, window_sd = oracle_window(model, windows.take([row]), inside, axis)
                value += weight * window_value
                deviation += weight * window_sd
                nearness += weight
            if nearness:
                assert found.curve.values[step, axis] == pytest.approx(value / nearness, abs=1e-9)
                assert found.sd[step, axis] == pytest.approx(deviation / nearness, abs=1e-6)
    assert found.overall == pytest.approx(tuple(found.curve.values.mean(axis=0)))
    expected_sd = [found.sd[:, axis].mean() * calibration.overall[axis] for axis in (0, 1)]
    assert found.overall_sd == pytest.approx(expected_sd)


@settings(max_examples=60)
@given(duration_s=st.floats(0.98, 400.0))
def test_constant_references_stay_constant_over_any_length(duration_s: float) -> None:
    rng = np.random.default_rng(1)
    curves = np.broadcast_to([0.25, -0.5], (5, 60, 2)).astype(np.float64)
    calibration = EstimateCalibration(0.5, 0.1, (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.03, 0.07))
    model = Estimator(encodings(rng, 5), curves, calibration, SCALE)
    found = model.estimate(*windows_of(duration_s), duration_s)
    assert len(found.curve.values) == math.ceil(2 * duration_s - 1e-6)
    assert np.abs(found.curve.values - [0.25, -0.5]).max() < 1e-9
    assert np.abs(found.sd - [0.03, 0.07]).max() < 1e-7
    assert found.overall == pytest.approx((0.25, -0.5))


@settings(max_examples=60)
@given(duration_s=st.floats(0.98, 200.0), seed=st.integers(0, 1_000))
def test_stays_on_the_plane_and_above_the_floor(duration_s: float, seed: int) -> None:
    steep = EstimateCalibration(0.5, 0.05, (4.0, 4.0), (0.3, -0.3), (0.5, 0.5), (0.2, 0.1))
    found = estimator(steep, seed=seed).estimate(*windows_of(duration_s, seed), duration_s)
    assert np.abs(found.curve.values).max() <= 1.0 + 1e-12
    assert (found.sd >= np.array([0.2, 0.1]) - 1e-12).all()


def test_the_order_of_references_does_not_matter() -> None:
    model = estimator(FITTED)
    order = np.random.default_rng(4).permutation(9)
    shuffled = Estimator(model.references.take(order), model.curves[order], FITTED, SCALE)
    windows, starts_s = windows_of(80.0)
    one = model.estimate(windows, starts_s, 80.0)
    other = shuffled.estimate(windows, starts_s, 80.0)
    assert np.abs(one.curve.values - other.curve.values).max() < 1e-9
    assert np.abs(one.sd - other.sd).max() < 1e-7


def test_a_catalogue_has_no_way_in() -> None:
    """All that an estimate depends on: the bundle's references and the recording itself."""
    assert list(inspect.signature(Estimator.estimate).parameters) == [
        "self",
        "windows",
        "starts_s",
        "duration_s",
    ]
    model, (windows, starts_s) = estimator(FITTED), windows_of(50.0)
    before = model.estimate(windows, starts_s, 50.0)
    model.estimate(*windows_of(333.0, seed=9), 333.0)
    after = model.estimate(windows, starts_s, 50.0)
    assert before.curve.values.tobytes() == after.curve.values.tobytes()
    assert before.sd.tobytes() == after.sd.tobytes()


def test_a_sharp_temperature_gives_the_nearest_reference() -> None:
    model = estimator(
        EstimateCalibration(1.0, 1e-4, (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0))
    )
    found = model.estimate(model.references.take([4]), [0.0], 30.0)
    assert np.abs(found.curve.values - model.curves[4]).max() < 1e-6
    assert found.sd.max() < 1e-3


class TestWeightedCurves:
    @given(logits=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=12))
    def test_is_a_weighted_mean(self, logits: list[float]) -> None:
        curves = np.random.default_rng(0).uniform(-1, 1, (len(logits), 60, 2))
        mean, sd = weighted_curves(np.array([logits]), curves)
        assert mean.shape == sd.shape == (1, 60, 2)
        assert (mean <= curves.max(axis=0) + 1e-12).all()
        assert (mean >= curves.min(axis=0) - 1e-12).all()
        assert np.isfinite(sd).all()
        assert sd.min() >= 0

    def test_equal_logits_give_the_plain_mean(self) -> None:
        curves = np.random.default_rng(0).uniform(-1, 1, (7, 60, 2))
        mean, sd = weighted_curves(np.full((3, 7), 123.0), curves)
        assert np.abs(mean - curves.mean(axis=0)).max() < 1e-12
        assert np.abs(sd - curves.std(axis=0)).max() < 1e-9


def test_mood_is_the_overall_points() -> None:
    found = estimator(FITTED).estimate(*windows_of(60.0), 60.0)
    valence, arousal = found.overall
    assert found.mood == nearest_mood(valence=valence, arousal=arousal)
    sad = Estimate(found.curve, found.sd, (-0.8, -0.42), (0.1, 0.1))
    assert sad.mood == "sad"


def test_calibration_round_trips_through_json() -> None:
    again = EstimateCalibration.from_json(json.loads(json.dumps(FITTED.as_json())))
    assert again == FITTED
    values: NDArray[np.float64] = np.ones((2, 60, 2)) * again.slope
    assert values.shape == (2, 60, 2)
