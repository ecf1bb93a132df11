"""What validation pieces teach a trained model about its own answers.

The estimate of models/estimate.py gets its temperature, its line and its spread; the similarity of
models/calibration.py gets samples of pairs that belong together and of pairs that do not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.bundle import encode_sequences
from models.calibration import Direction, PairSample
from models.committee import AnyTower
from models.curve import CURVE_RATE_HZ
from models.estimate import Estimate, EstimateCalibration, Estimator
from models.similarity import Encodings, correlation, kl_divergence
from models.windows import window_starts_s
from training.estimate_metrics import BAND_90
from training.evaluation import encode_examples
from training.examples import Example

_TEMPERATURES = (0.02, 0.035, 0.06, 0.1)
_HELD_BY_BAND = 0.9
_LEAST_SPREAD = 1e-6
_PRIOR_PIECES = 100
"""So many pieces' worth of belief that a trained estimate needs no line: a few validation pieces
must not bend it."""
_UNRELATED_PAIRS = 2_000

Floats64 = NDArray[np.float64]


def calibrate_estimate(
    music: AnyTower,
    references: Encodings,
    reference_curves: Floats64,
    validation: list[Example],
    *,
    weight: float,
    divergence_scale: float,
) -> EstimateCalibration:
    """Fit the estimate's temperature, line and bands to the validation pieces' curves.

    The temperature is the one whose line leaves the least squared error over arousal and valence,
    each relative to its variance.
    """
    heard = [_encode_example(music, example) for example in validation]
    truths = [example.curve.values[: _steps(example)] for example in validation]
    best: tuple[float, EstimateCalibration] | None = None
    for temperature in _TEMPERATURES:
        plain = EstimateCalibration(
            weight, temperature, (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0)
        )
        estimator = Estimator(references, reference_curves, plain, divergence_scale)
        estimates = [
            estimator.estimate(windows, starts_s, len(truth) / CURVE_RATE_HZ)
            for truth, (windows, starts_s) in zip(truths, heard, strict=True)
        ]
        error, fitted = fit_estimate(plain, estimates, truths)
        if best is None or error < best[0]:
            best = error, fitted
    assert best is not None
    return best[1]


def fit_estimate(
    plain: EstimateCalibration, estimates: list[Estimate], truths: list[Floats64]
) -> tuple[float, EstimateCalibration]:
    """Fit line and bands to estimates made with ``plain``, which changes nothing itself.

    ``truths`` are the annotations (T, 2) of the same steps. Returns the squared error of the lines,
    relative to the annotations' variance and summed over both axes, and the fitted calibration.
    """
    values = np.concatenate([estimate.curve.values for estimate in estimates])
    spread = np.concatenate([estimate.sd for estimate in estimates])
    truth = np.concatenate(truths)
    ends = np.cumsum([len(part) for part in truths])[:-1]
    axes, relative = [], 0.0
    for axis in (0, 1):
        slope, intercept = _line(values[:, axis], truth[:, axis], len(truths))
        errors = np.clip(slope * values[:, axis] + intercept, -1.0, 1.0) - truth[:, axis]
        factor, floor = _band(errors, spread[:, axis], len(truths))
        axes.append((slope, intercept, factor, floor, _overall(np.split(errors, ends))))
        relative += _mean_square(errors) / max(float(truth[:, axis].var()), 1e-12)
    slopes, intercepts, factors, floors, overall = zip(*axes, strict=True)
    return relative, replace(
        plain,
        slope=slopes,
        intercept=intercepts,
        spread=factors,
        floor=floors,
        overall=overall,
    )


def _line(values: Floats64, truth: Floats64, pieces: int) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line, drawn towards the identity.

    The identity counts as the prior's number of pieces.
    """
    evidence = pieces / (pieces + _PRIOR_PIECES)
    variance = float(values.var())
    # An axis that the model cannot hear gets a flat line, never one that turns it round.
    fitted = (
        max(float(np.cov(values, truth, bias=True)[0, 1]) / variance, 0.0) if variance > 0 else 0.0
    )
    slope = evidence * fitted + (1 - evidence)
    return slope, evidence * float(truth.mean() - slope * values.mean())


def _band(errors: Floats64, spread: Floats64, pieces: int) -> tuple[float, float]:
    """Return what scales the references' spread, and the least standard deviation given.

    Both are such that 1.645 standard deviations hold 90 % of the errors (N,) of validation steps,
    and a little more, as in split conformal prediction (J. Lei et al., "Distribution-free
    predictive inference for regression", JASA 113, 2018): of n pieces the (n + 1)/n · 0.9 quantile.
    Steps of one piece err together, so that it is pieces that count. The least is what the usual
    spread (N,) gives: where the references agree better, estimates are hardly better, and where
    they disagree, worse.
    """
    usual = max(float(np.sqrt(_mean_square(spread))), _LEAST_SPREAD)
    ratios = np.abs(errors) / np.maximum(spread, usual)
    level = min(_HELD_BY_BAND * (pieces + 1) / pieces, 1.0)
    factor = float(np.quantile(ratios, level, method="inverted_cdf")) / BAND_90
    return factor, factor * usual


def _overall(errors: list[Floats64]) -> float:
    """Return the error of whole pieces as a share of that of their steps, both root mean square."""
    of_steps = _mean_square(np.concatenate(errors))
    of_pieces = _mean_square(np.array([part.mean() for part in errors]))
    return float(np.sqrt(of_pieces / of_steps)) if of_steps > 0 else 1.0


def _mean_square(values: Floats64) -> float:
    return float(np.mean(values**2))


def sample_pairs(
    music: AnyTower, emotion: AnyTower, validation: list[Example], *, seed: int
) -> dict[Direction, PairSample]:
    """Collect (ρ, KL) of true and unrelated validation pairs in every direction.

    A music window and its own curve are a true pair; so are a music window and the music window of
    another piece whose curve is nearest. Unrelated pairs come from different pieces at random.
    """
    heard, felt, owner = encode_examples(music, emotion, validation)
    curves = np.stack([curve.values for item in validation for _, curve in item.windows()])
    own = np.arange(len(owner))
    samples: dict[Direction, PairSample] = {}
    for direction, query, items, partner in (
        ("m2e", heard, felt, own),
        ("e2m", felt, heard, own),
        ("m2m", heard, heard, _nearest_other(curves, owner)),
    ):
        pairs = np.stack([correlation(query, items), kl_divergence(query, items)], axis=-1)
        unrelated = pairs[owner[:, None] != owner[None, :]]
        if not len(unrelated):  # a single validation piece: nothing unrelated to compare with
            unrelated = pairs.reshape(-1, 2)
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(unrelated))[:_UNRELATED_PAIRS]
        samples[direction] = PairSample(pairs[own, partner], unrelated[chosen])  # type: ignore[index]
    return samples


def _nearest_other(curves: Floats64, owner: NDArray[np.int64]) -> NDArray[np.int64]:
    flat = curves.reshape(len(curves), -1)
    square = (flat**2).sum(axis=1)
    distance = square[:, None] + square[None, :] - 2 * flat @ flat.T
    distance[owner[:, None] == owner[None, :]] = np.inf
    nearest: NDArray[np.int64] = distance.argmin(axis=1)
    return nearest


def _encode_example(music: AnyTower, example: Example) -> tuple[Encodings, list[float]]:
    windows = example.windows()
    starts_s = window_starts_s(example.duration_s)
    return encode_sequences(music, [features for features, _ in windows]), starts_s


def _steps(example: Example) -> int:
    """Steps of the curve that the example's features cover."""
    return min(round(example.duration_s * CURVE_RATE_HZ), len(example.curve.values))
