"""What validation pieces teach: the line, and bands that hold 90 % of what was never seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.curve import Curve
from models.estimate import Estimate, EstimateCalibration
from training.calibrating import fit_estimate

PLAIN = EstimateCalibration(0.5, 0.1, (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0))
STEPS = 20

Floats64 = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats64]

NOISES: dict[str, Noise] = {
    "gaussian": lambda rng, shape: rng.normal(0, 0.1, shape),
    "laplace": lambda rng, shape: rng.laplace(0, 0.07, shape),
    "uniform": lambda rng, shape: rng.uniform(-0.2, 0.2, shape),
}


def _pieces(
    rng: np.random.Generator, count: int, noise: Noise, together: float
) -> tuple[list[Estimate], list[Floats64]]:
    """Make estimates whose errors are to the share ``together`` one a piece, else one a step."""
    estimates, truths = [], []
    for _ in range(count):
        values = rng.uniform(-0.3, 0.3, (1, 2)) + rng.uniform(-0.1, 0.1, (STEPS, 2))
        error = together * noise(rng, (1, 2)) + (1 - together) * noise(rng, (STEPS, 2))
        spread = rng.uniform(0.02, 0.06, (STEPS, 2))
        estimates.append(Estimate(Curve(values), spread, (0.0, 0.0), (0.0, 0.0)))
        truths.append(np.clip(values - error, -1, 1))
    return estimates, truths


def _covered(
    fitted: EstimateCalibration, estimates: list[Estimate], truths: list[Floats64]
) -> tuple[Floats64, Floats64]:
    """Return the shares of steps and of means within 1.645 deviations, each (2,)."""
    steps, means = [], []
    for estimate, truth in zip(estimates, truths, strict=True):
        values = np.clip(estimate.curve.values * fitted.slope + fitted.intercept, -1, 1)
        sd = np.maximum(estimate.sd * fitted.spread, fitted.floor)
        steps.append((np.abs(values - truth) <= 1.645 * sd).mean(axis=0))
        off = np.abs(values.mean(axis=0) - truth.mean(axis=0))
        means.append(off <= 1.645 * sd.mean(axis=0) * fitted.overall)
    return np.mean(steps, axis=0), np.mean(means, axis=0)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("together", [0.2, 0.8])
@pytest.mark.parametrize("validation", [24, 200])
def test_bands_hold_90_percent_of_unseen_pieces(
    noise: Noise, together: float, validation: int
) -> None:
    rng = np.random.default_rng(0)
    unseen = _pieces(rng, 400, noise, together)
    found = []
    for _ in range(8):
        _, fitted = fit_estimate(PLAIN, *_pieces(rng, validation, noise, together))
        found.append(_covered(fitted, *unseen))
    steps, means = np.mean(found, axis=0)
    assert (steps > 0.87).all()
    assert (steps < 0.96).all()
    assert (means > 0.84).all()
    assert (means < 0.97).all()


def test_the_band_is_the_narrowest_that_holds_its_share() -> None:
    rng = np.random.default_rng(1)
    estimates, truths = _pieces(rng, 40, NOISES["laplace"], 0.5)
    _, fitted = fit_estimate(PLAIN, estimates, truths)
    wanted = 0.9 * 41 / 40
    for factor, enough in ((1 + 1e-9, True), (1 - 1e-9, False)):
        narrower = EstimateCalibration(
            fitted.weight,
            fitted.temperature,
            fitted.slope,
            fitted.intercept,
            (factor * fitted.spread[0], factor * fitted.spread[1]),
            (factor * fitted.floor[0], factor * fitted.floor[1]),
        )
        steps, _ = _covered(narrower, estimates, truths)
        assert ((steps + 1e-12 >= wanted) == enough).all()


def test_disagreeing_references_widen_the_band_and_agreeing_ones_do_not_narrow_it() -> None:
    rng = np.random.default_rng(2)
    estimates, truths = _pieces(rng, 40, NOISES["gaussian"], 0.5)
    _, fitted = fit_estimate(PLAIN, estimates, truths)
    spread = np.concatenate([estimate.sd for estimate in estimates])
    usual = np.sqrt(np.mean(spread**2, axis=0))
    np.testing.assert_allclose(fitted.floor, fitted.spread * usual)


def test_a_line_that_turns_round_is_never_fitted() -> None:
    rng = np.random.default_rng(3)
    estimates, truths = _pieces(rng, 10_000 // STEPS, NOISES["gaussian"], 0.0)
    turned = [-truth for truth in truths]
    _, straight = fit_estimate(PLAIN, estimates, truths)
    _, flat = fit_estimate(PLAIN, estimates, turned)
    prior = 100 / (100 + 500)  # the identity counts as 100 pieces
    assert straight.slope == pytest.approx((1.0, 1.0), abs=0.05)
    assert flat.slope == pytest.approx((prior, prior), abs=1e-9)


def test_exact_estimates_and_references_of_one_mind_give_finite_bands() -> None:
    values = np.random.default_rng(4).uniform(-0.5, 0.5, (12, STEPS, 2))
    estimates = [
        Estimate(Curve(part), np.zeros((STEPS, 2)), (0.0, 0.0), (0.0, 0.0)) for part in values
    ]
    error, fitted = fit_estimate(PLAIN, estimates, list(values))
    assert error == pytest.approx(0, abs=1e-20)
    assert fitted.slope == pytest.approx((1.0, 1.0))
    assert np.isfinite(fitted.overall).all()
    assert np.isfinite([*fitted.spread, *fitted.floor]).all()
    _, off = fit_estimate(PLAIN, estimates, [part + 0.1 for part in values])
    assert 0.05 < off.floor[0] < 0.1
