"""Retrieval metrics of Takashima et al. 2023, section IV: ranks, MRR, AR and recall@K.

Conventions: a score matrix is (Q, N), row i is query i, and its one true counterpart is item i.
Higher scores are closer. Ties count against the system: the rank of the true item is the number of
items that score at least as much, itself included.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class RetrievalMetrics(TypedDict):
    """Mean reciprocal rank in (0, 1], average rank from 1, and recall@10 in [0, 1]."""

    mrr: float
    ar: float
    recall_at_10: float


def ranks(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the rank of the true item of each of N queries, from 1; ``scores`` is (N, N).

    Raises:
        ValueError: the matrix is not square or holds NaN, which would rank as perfect.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"expected a square score matrix, got {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("the score matrix holds NaN")
    true = np.diagonal(scores)[:, None]
    at_least: NDArray[np.int64] = (scores >= true).sum(axis=1)
    return at_least


def retrieval_metrics(scores: NDArray[np.floating], k: int = 10) -> RetrievalMetrics:
    """Compute MRR, AR and recall@``k`` of a score matrix (N, N)."""
    found = ranks(scores)
    return {
        "mrr": float((1 / found).mean()),
        "ar": float(found.mean()),
        "recall_at_10": float((found <= k).mean()),
    }


def chance_metrics(items: int, k: int = 10) -> RetrievalMetrics:
    """Return what a random order of N items gives in expectation."""
    places = np.arange(1, items + 1)
    return {
        "mrr": float((1 / places).mean()),
        "ar": float(places.mean()),
        "recall_at_10": min(k / items, 1.0),
    }
