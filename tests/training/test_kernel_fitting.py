"""The closed form against kernels that are really fitted anew without each piece."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.kernel_ridge import gaussianised
from training.kernel_fitting import FittedKernel, fit_kernel

Floats = NDArray[np.float64]


def material(seed: int = 0) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return 60 windows of 24 pieces: features (60, 5), two audible targets and one of noise."""
    rng = np.random.default_rng(seed)
    pieces = np.sort(rng.integers(0, 24, 60))
    means = rng.normal(size=(60, 5)) + rng.normal(size=(24, 5))[pieces]
    audible = np.stack([np.tanh(means[:, 0]), means[:, 1] + 0.3 * rng.normal(size=60)], axis=1)
    targets = np.hstack([audible, rng.normal(size=(60, 1))])
    return means, targets - targets.mean(axis=0), pieces


@pytest.fixture(scope="module")
def fitted() -> FittedKernel:
    return fit_kernel(*material())


def kernel(one: Floats, other: Floats, gamma: float) -> Floats:
    """exp(-γ · mean squared difference) of all pairs, by broadcasting."""
    distance = ((one[:, None] - other[None, :]) ** 2).mean(axis=2)
    return np.asarray(np.exp(-gamma * distance))


def test_weights_solve_the_ridge(fitted: FittedKernel) -> None:
    _, targets, _ = material()
    similar = kernel(fitted.centres, fitted.centres, fitted.gamma)
    for column, ridge in enumerate(fitted.ridges):
        expected = np.linalg.solve(similar + ridge * np.eye(60), targets[:, column])
        np.testing.assert_allclose(fitted.weights[:, column], expected, rtol=1e-6, atol=1e-9)


def test_left_out_predictions_never_saw_their_piece(fitted: FittedKernel) -> None:
    _, targets, pieces = material()
    for piece in np.unique(pieces):
        own, others = pieces == piece, pieces != piece
        similar = kernel(fitted.centres[others], fitted.centres[others], fitted.gamma)
        reach = kernel(fitted.centres[own], fitted.centres[others], fitted.gamma)
        for column, ridge in enumerate(fitted.ridges):
            identity = np.eye(int(others.sum()))
            weights = np.linalg.solve(similar + ridge * identity, targets[others, column])
            np.testing.assert_allclose(
                fitted.left_out[own, column], reach @ weights, rtol=1e-6, atol=1e-9
            )


def test_centres_are_ranks_made_gaussian(fitted: FittedKernel) -> None:
    means, _, _ = material()
    again = gaussianised(torch.from_numpy(means), torch.from_numpy(fitted.knots)).numpy()
    np.testing.assert_array_equal(fitted.centres, again)
    np.testing.assert_allclose(fitted.centres.mean(axis=0), 0, atol=0.02)


def test_relevance_is_the_correlation_of_left_out_predictions(fitted: FittedKernel) -> None:
    _, targets, _ = material()
    for column in range(3):
        expected = np.corrcoef(fitted.left_out[:, column], targets[:, column])[0, 1]
        assert fitted.relevance[column] == pytest.approx(max(expected, 0), abs=1e-9)
    assert fitted.relevance[:2].min() > 0.6
    assert fitted.relevance[2] < 0.3


def test_a_feature_that_never_changes_is_harmless() -> None:
    means, targets, pieces = material()
    with_constant = fit_kernel(np.hstack([means, np.full((60, 1), 3.0)]), targets, pieces)
    assert np.isfinite(with_constant.weights).all()
    assert with_constant.relevance[:2].min() > 0.6
