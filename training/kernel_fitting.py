"""Kernel ridge regression in closed form, with the predictions of what was left out.

The committee behind the kernel trains on predictions of windows that the kernel was not fitted to:
its own would flatter it, and the committee would trust them too much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.kernel_ridge import gaussianised

Floats64 = NDArray[np.float64]

_KNOTS = 257
_GAMMAS = (0.05, 0.1, 0.2, 0.4, 0.8)
_RIDGES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


_SMALLEST_LENGTH = 1e-12
_LARGEST_CORRELATION = 0.999


@dataclass(frozen=True, eq=False)
class FittedKernel:
    """A kernel regression of N windows with F features on K targets.

    ``knots`` (F, Q), ``centres`` (N, F), ``weights`` (N, K), ``gamma``, and the ``ridges`` (K,) of
    the targets. ``left_out`` (N, K) are the predictions of each window by the kernel fitted without
    its piece, and ``relevance`` (K,) their correlations with the targets, 0 where negative.
    """

    knots: Floats64
    centres: Floats64
    weights: Floats64
    gamma: float
    ridges: Floats64
    left_out: Floats64
    relevance: Floats64

    def predict(self, means: Floats64) -> Floats64:
        """Predict targets (N, K) of other mean features (N, F)."""
        gaussian = gaussianised(torch.from_numpy(means), torch.from_numpy(self.knots)).numpy()
        predicted: Floats64 = (
            np.exp(-self.gamma * _distances(gaussian, self.centres)) @ self.weights
        )
        return predicted


def fit_kernel(means: Floats64, targets: Floats64, pieces: NDArray[np.int64]) -> FittedKernel:
    """Fit targets (N, K) of mean 0 by mean features (N, F); ``pieces`` (N,) owns the windows.

    Each target gets the ridge whose left-out predictions correlate best with it, and all the width
    under which they tell most about their targets, -½ Σ ln(1 - r²): no validation part is needed.
    """
    knots = np.quantile(means, np.linspace(0, 1, min(_KNOTS, len(means))), axis=0).T
    knots = np.ascontiguousarray(knots)
    centres = gaussianised(torch.from_numpy(means), torch.from_numpy(knots)).numpy()
    distance = _distances(centres, centres)

    best: tuple[float, FittedKernel] | None = None
    for gamma in _GAMMAS:
        values, vectors = np.linalg.eigh(np.exp(-gamma * distance))
        values = np.maximum(values, 0)
        rotated = vectors.T @ targets
        tried = np.stack(
            [_left_out(values, vectors, rotated, targets, ridge, pieces) for ridge in _RIDGES]
        )
        relevance = np.stack([_correlations(left_out, targets) for left_out in tried])
        chosen = relevance.argmax(axis=0)
        columns = np.arange(targets.shape[1])
        told = -0.5 * float(np.log(1 - relevance.max(axis=0) ** 2).sum())
        if best is None or told > best[0]:
            ridges = np.array(_RIDGES)[chosen]
            best = (
                told,
                FittedKernel(
                    knots,
                    centres,
                    vectors @ (rotated / (values[:, None] + ridges)),
                    gamma,
                    ridges,
                    tried[chosen, :, columns].T,
                    relevance.max(axis=0),
                ),
            )
    assert best is not None
    return best[1]


def _distances(one: Floats64, other: Floats64) -> Floats64:
    """Mean squared difference over the F features of all pairs: (M, F), (N, F) → (M, N)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    distances: Floats64 = np.maximum(squares - 2 * one @ other.T, 0) / one.shape[1]
    return distances


def _correlations(predicted: Floats64, targets: Floats64) -> Floats64:
    """Correlate each column of (N, K) with its target; what is below 0 counts as 0."""
    centred = predicted - predicted.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0) * np.linalg.norm(targets, axis=0)
    correlations = (centred * targets).sum(axis=0) / np.maximum(lengths, _SMALLEST_LENGTH)
    clipped: Floats64 = np.clip(correlations, 0, _LARGEST_CORRELATION)
    return clipped


def _left_out(
    values: Floats64,
    vectors: Floats64,
    rotated: Floats64,
    targets: Floats64,
    ridge: float,
    pieces: NDArray[np.int64],
) -> Floats64:
    """Predict each piece's windows without them: residuals (I - H_gg)⁻¹ r_g, H the smoother."""
    shares = values / (values + ridge)
    residual = targets - vectors @ (shares[:, None] * rotated)
    left_out = np.empty_like(targets)
    for piece in np.unique(pieces):
        own = np.flatnonzero(pieces == piece)
        smoother = (vectors[own] * shares) @ vectors[own].T
        left_out[own] = targets[own] - np.linalg.solve(np.eye(len(own)) - smoother, residual[own])
    return left_out
