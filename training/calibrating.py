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
from models.curve import CURVE_RATE_HZ
from models.encoders import Tower
from models.estimate import EstimateCalibration, Estimator
from models.similarity import Encodings, correlation, kl_divergence
from models.windows import window_starts_s
from training.evaluation import encode_examples
from training.examples import Example

_TEMPERATURES = (0.02, 0.035, 0.06)
_FLOOR_SHARE = 0.25
_PRIOR_PIECES = 100
"""So many pieces' worth of belief that a trained estimate needs no line: a few validation pieces
must not bend it."""
_UNRELATED_PAIRS = 2_000

Floats64 = NDArray[np.float64]


def calibrate_estimate(
    music: Tower,
    references: Encodings,
    reference_curves: Floats64,
    validation: list[Example],
    *,
    weight: float,
    divergence_scale: float,
) -> EstimateCalibration:
    """Fit the estimate's temperature, line and spread to the validation pieces' curves.

    The temperature is the one whose line leaves the least squared error over arousal and valence,
    each relative to its variance.
    """
    heard = [_encode_example(music, example) for example in validation]
    truth = np.concatenate([example.curve.values[: _steps(example)] for example in validation])
    best: tuple[float, EstimateCalibration] | None = None
    for temperature in _TEMPERATURES:
        plain = EstimateCalibration(
            weight, temperature, (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0)
        )
        estimator = Estimator(references, reference_curves, plain, divergence_scale)
        estimates = [
            estimator.estimate(windows, starts_s, _steps(example) / CURVE_RATE_HZ)
            for example, (windows, starts_s) in zip(validation, heard, strict=True)
        ]
        values = np.concatenate([estimate.curve.values for estimate in estimates])
        spread = np.concatenate([estimate.sd for estimate in estimates])
        error, fitted = _fit_line(plain, values, spread, truth, len(validation))
        if best is None or error < best[0]:
            best = error, fitted
    assert best is not None
    return best[1]


def _fit_line(
    plain: EstimateCalibration,
    values: Floats64,
    spread: Floats64,
    truth: Floats64,
    pieces: int,
) -> tuple[float, EstimateCalibration]:
    """Return the relative squared error of the line through each axis, and the line.

    The line is the least-squares one, drawn towards the identity by the prior's share of pieces.
    """
    evidence = pieces / (pieces + _PRIOR_PIECES)
    slopes, intercepts, spreads, floors, error = [], [], [], [], 0.0
    for axis in (0, 1):
        x, y = values[:, axis], truth[:, axis]
        variance = float(x.var())
        # An axis that the model cannot hear gets a flat line, never one that turns it round.
        fitted_slope = (
            max(float(np.cov(x, y, bias=True)[0, 1]) / variance, 0.0) if variance > 0 else 0.0
        )
        slope = evidence * fitted_slope + (1 - evidence)
        intercept = evidence * float(y.mean() - slope * x.mean())
        residual = float(np.mean((slope * x + intercept - y) ** 2))
        mean_square_spread = float(np.mean(spread[:, axis] ** 2))
        slopes.append(slope)
        intercepts.append(intercept)
        spreads.append(float(np.sqrt(residual / max(mean_square_spread, 1e-12))))
        floors.append(_FLOOR_SHARE * float(np.sqrt(residual)))
        error += residual / max(float(y.var()), 1e-12)
    fitted = replace(
        plain,
        slope=(slopes[0], slopes[1]),
        intercept=(intercepts[0], intercepts[1]),
        spread=(spreads[0], spreads[1]),
        floor=(floors[0], floors[1]),
    )
    return error, fitted


def sample_pairs(
    music: Tower, emotion: Tower, validation: list[Example], *, seed: int
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


def _encode_example(music: Tower, example: Example) -> tuple[Encodings, list[float]]:
    windows = example.windows()
    starts_s = window_starts_s(example.duration_s)
    return encode_sequences(music, [features for features, _ in windows]), starts_s


def _steps(example: Example) -> int:
    """Steps of the curve that the example's features cover."""
    return min(round(example.duration_s * CURVE_RATE_HZ), len(example.curve.values))
