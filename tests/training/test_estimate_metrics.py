"""Errors and coverage of estimates against their plain definitions."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.estimate_metrics import (
    BAND_90,
    Judged,
    axis_error,
    concordance,
    coverage,
    r_squared,
    rank_correlation,
    rmse,
)

Floats64 = NDArray[np.float64]

_numbers = st.floats(-1, 1, width=16)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Floats64, Floats64]:
    """Draw estimates and truths of 2 to 30 pieces that are not all one."""
    drawn = draw(st.lists(st.tuples(_numbers, _numbers), min_size=2, max_size=30))
    estimate, truth = np.array(drawn).T
    if np.ptp(estimate) == 0 or np.ptp(truth) == 0:
        estimate, truth = np.append(estimate, -2.0), np.append(truth, 2.0)
    return estimate, truth


@given(pairs())
def test_figures_equal_their_plain_definitions(drawn: tuple[Floats64, Floats64]) -> None:
    estimate, truth = drawn
    x, y = estimate.tolist(), truth.tolist()
    errors = [(a - b) ** 2 for a, b in zip(x, y, strict=True)]
    assert rmse(estimate, truth) == pytest.approx(math.sqrt(sum(errors) / len(x)))
    assert r_squared(estimate, truth) == pytest.approx(
        1 - sum(errors) / sum((b - statistics.fmean(y)) ** 2 for b in y)
    )
    lin = (
        2
        * statistics.fmean(
            (a - statistics.fmean(x)) * (b - statistics.fmean(y)) for a, b in zip(x, y, strict=True)
        )
        / (
            statistics.pvariance(x)
            + statistics.pvariance(y)
            + (statistics.fmean(x) - statistics.fmean(y)) ** 2
        )
    )
    assert concordance(estimate, truth) == pytest.approx(lin, abs=1e-12)
    ranked = np.corrcoef(rankdata(estimate), rankdata(truth))[0, 1]
    assert rank_correlation(estimate, truth) == pytest.approx(ranked, abs=1e-12)


@given(pairs(), st.floats(0.1, 3))
def test_coverage_counts_truths_within_the_band(
    drawn: tuple[Floats64, Floats64], band: float
) -> None:
    estimate, truth = drawn
    sd = np.linspace(0.01, 1, len(truth))
    inside = [
        low <= value <= high
        for low, value, high in zip(estimate - band * sd, truth, estimate + band * sd, strict=True)
        if min(abs(value - low), abs(value - high)) > 1e-9
    ]
    on_the_edge = len(truth) - len(inside)
    found = coverage(estimate, sd, truth, band) * len(truth)
    assert sum(inside) - 1e-9 <= found <= sum(inside) + on_the_edge + 1e-9


def test_a_constant_has_no_correlation() -> None:
    same, rising = np.zeros(4), np.arange(4.0)
    assert rank_correlation(same, rising) == 0
    assert concordance(same, same) == 0
    assert concordance(same, rising) == 0
    assert r_squared(rising, same) == 0
    assert r_squared(np.full(4, 1.5), rising) == 0


def test_concordance_falls_with_scale_and_place_where_correlation_does_not() -> None:
    truth = np.array([0.0, 0.1, 0.2, 0.3])
    assert concordance(truth, truth) == pytest.approx(1)
    assert concordance(-truth, truth) < 0
    assert concordance(0.5 * truth, truth) < concordance(0.9 * truth, truth) < 1
    assert concordance(truth + 0.3, truth) < concordance(truth + 0.1, truth) < 1


def test_true_gaussian_bands_cover_68_and_90_percent() -> None:
    rng = np.random.default_rng(0)
    sd = rng.uniform(0.05, 0.3, 200_000)
    truth = rng.normal(0, sd)
    assert coverage(np.zeros_like(truth), sd, truth, 1.0) == pytest.approx(0.683, abs=0.005)
    assert coverage(np.zeros_like(truth), sd, truth, BAND_90) == pytest.approx(0.9, abs=0.005)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_steps_and_means_are_judged_apart(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        steps = int(rng.integers(1, 40))
        values, truth = rng.uniform(-1, 1, (2, steps, 2))
        overall, overall_sd = rng.uniform(-1, 1, 2), rng.uniform(0, 1, 2)
        sd = rng.uniform(0, 1, (steps, 2))
        pieces.append(Judged(values, sd, truth, tuple(overall), tuple(overall_sd)))
    for axis in (0, 1):
        found = axis_error(pieces, axis)
        squares, within, within_90 = [], [], []
        for piece in pieces:
            for step in range(len(piece.truth)):
                error = abs(piece.values[step, axis] - piece.truth[step, axis])
                squares.append(error**2)
                within.append(error <= piece.sd[step, axis])
                within_90.append(error <= 1.645 * piece.sd[step, axis])
        assert found["rmse"] == pytest.approx(math.sqrt(statistics.fmean(squares)))
        assert found["covered"] == pytest.approx(statistics.fmean(within))
        assert found["covered_90"] == pytest.approx(statistics.fmean(within_90))
        means = np.array([piece.overall[axis] for piece in pieces])
        true = np.array([statistics.fmean(piece.truth[:, axis]) for piece in pieces])
        sds = np.array([piece.overall_sd[axis] for piece in pieces])
        assert found["rmse_of_means"] == pytest.approx(rmse(means, true))
        assert found["r2"] == pytest.approx(r_squared(means, true))
        assert found["ccc"] == pytest.approx(concordance(means, true))
        assert found["means_covered_90"] == pytest.approx(
            statistics.fmean(np.abs(means - true) <= 1.645 * sds)
        )
