"""Does an estimate tell the truth? Its errors beside the annotation, and what its bands cover.

Two questions are asked of each axis: how far the estimated curve is at every 2 Hz step, and how far
the estimated mean of a piece is from the annotation's mean, which is what other systems publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

Floats64 = NDArray[np.float64]

BAND_68 = 1.0
BAND_90 = 1.645
"""Standard deviations to either side that hold 68 % and 90 % of a Gaussian."""


class AxisError(TypedDict):
    """How far estimates are from annotations on one axis, over held-out pieces, signed scale.

    Over all steps: ``rmse``; ``covered`` and ``covered_90``, the shares of steps within one and
    within 1.645 standard deviations (0.68 and 0.90 where the band tells the truth). Over the
    pieces' means: ``rmse_of_means``, ``r2``, ``ccc`` (Lin 1989), ``spearman``, and
    ``means_covered_90`` by the standard deviation that is given for the whole piece.
    """

    rmse: float
    covered: float
    covered_90: float
    rmse_of_means: float
    r2: float
    ccc: float
    spearman: float
    means_covered_90: float


@dataclass(frozen=True, eq=False)
class Judged:
    """An estimate beside the annotation of the same steps.

    ``values``, ``sd`` and ``truth`` are (T, 2), column 0 valence, column 1 arousal; ``overall`` and
    ``overall_sd`` the estimate of the whole piece, (valence, arousal).
    """

    values: Floats64
    sd: Floats64
    truth: Floats64
    overall: tuple[float, float]
    overall_sd: tuple[float, float]


def axis_error(pieces: Sequence[Judged], axis: int) -> AxisError:
    """Report the errors on ``axis`` (0 valence, 1 arousal) over one piece or more."""
    values, sd, truth = (
        np.concatenate([part[:, axis] for part in column])
        for column in zip(*((piece.values, piece.sd, piece.truth) for piece in pieces), strict=True)
    )
    means = np.array([piece.overall[axis] for piece in pieces])
    means_sd = np.array([piece.overall_sd[axis] for piece in pieces])
    true_means = np.array([piece.truth[:, axis].mean() for piece in pieces])
    return {
        "rmse": rmse(values, truth),
        "covered": coverage(values, sd, truth, BAND_68),
        "covered_90": coverage(values, sd, truth, BAND_90),
        "rmse_of_means": rmse(means, true_means),
        "r2": r_squared(means, true_means),
        "ccc": concordance(means, true_means),
        "spearman": rank_correlation(means, true_means),
        "means_covered_90": coverage(means, means_sd, true_means, BAND_90),
    }


def rmse(estimate: Floats64, truth: Floats64) -> float:
    """Return the root of the mean squared error of estimates (N,)."""
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


def coverage(estimate: Floats64, sd: Floats64, truth: Floats64, band: float) -> float:
    """Return the share of truths (N,) within ``band`` standard deviations of their estimate."""
    return float(np.mean(np.abs(estimate - truth) <= band * sd))


def r_squared(estimate: Floats64, truth: Floats64) -> float:
    """Return 1 - (squared error) / (squared deviation of the truth from its mean), N values each.

    0 is as good as always estimating the mean of what is judged, and below it is worse. 0, too,
    where all truths are one.
    """
    deviation = float(np.sum((truth - truth.mean()) ** 2))
    if deviation == 0:
        return 0.0
    return 1.0 - float(np.sum((estimate - truth) ** 2)) / deviation


def concordance(estimate: Floats64, truth: Floats64) -> float:
    """Return the concordance correlation coefficient of N values each, in [-1, 1].

    L. I.-K. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics
    45(1), 1989, with moments over N. 0 where all estimates and truths are one and the same.
    """
    covariance = float(np.mean((estimate - estimate.mean()) * (truth - truth.mean())))
    spread = float(estimate.var() + truth.var() + (estimate.mean() - truth.mean()) ** 2)
    return 2 * covariance / spread if spread > 0 else 0.0


def rank_correlation(estimate: Floats64, truth: Floats64) -> float:
    """Return Spearman's coefficient of N values each; 0 where all of either are one."""
    if np.ptp(estimate) == 0 or np.ptp(truth) == 0:
        return 0.0
    return float(spearmanr(estimate, truth)[0])
