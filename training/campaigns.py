"""The campaign leak: a corpus annotated in several campaigns, which music and curves both tell.

DEAM was annotated in three years, each with its own songs, raters and smoothing. How a curve is
drawn tells the year, and so do features of the recordings; so a system may find the right song by
finding its year. Ranking among pieces of the query's own campaign takes that away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats64 = NDArray[np.float64]


def within_campaign(scores: Floats64, campaigns: NDArray[np.str_]) -> Floats64:
    """Put candidates of other campaigns last: (N, N) scores of pieces with ``campaigns`` (N,)."""
    own: Floats64 = np.where(campaigns[:, None] == campaigns[None, :], scores, -np.inf)
    return own


def campaign_only_scores(campaigns: NDArray[np.str_]) -> Floats64:
    """Score 1 for pieces of one campaign and 0 for others, (N, N): what the leak alone tells."""
    same: Floats64 = (campaigns[:, None] == campaigns[None, :]).astype(np.float64)
    return same
