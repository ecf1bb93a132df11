"""Metrics of Takashima et al. 2023, section IV: ranks, MRR, AR, recall@K, cosine of the top 5 %.

Conventions: a score matrix is (Q, N), row i is query i, and its one true counterpart is item i.
Higher scores are closer. Ties count against the system: the rank of the true item is the number of
items that score at least as much, itself included. Only where a function says so, they are broken
at random.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    _require_scores(scores)
    true = np.diagonal(scores)[:, None]
    at_least: NDArray[np.int64] = (scores >= true).sum(axis=1)
    return at_least


def _require_scores(scores: NDArray[np.floating]) -> None:
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"expected a square score matrix, got {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("the score matrix holds NaN")


def retrieval_metrics(scores: NDArray[np.floating], k: int = 10) -> RetrievalMetrics:
    """Compute MRR, AR and recall@``k`` of a score matrix (N, N)."""
    found = ranks(scores)
    return {
        "mrr": float((1 / found).mean()),
        "ar": float(found.mean()),
        "recall_at_10": float((found <= k).mean()),
    }


def expected_metrics_with_random_ties(
    scores: NDArray[np.floating], k: int = 10
) -> RetrievalMetrics:
    """Compute MRR, AR and recall@``k`` of a score matrix (N, N), ties broken at random.

    The exact expectation: with g items above the true one and m tied with it, itself included, its
    rank is any of g + 1 .. g + m, each as likely as the others.

    Raises:
        ValueError: the matrix is not square or holds NaN.
    """
    last = ranks(scores)
    first = (scores > np.diagonal(scores)[:, None]).sum(axis=1) + 1
    tied = last - first + 1
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(scores) + 1))])
    return {
        "mrr": float(((harmonic[last] - harmonic[first - 1]) / tied).mean()),
        "ar": float(((first + last) / 2).mean()),
        "recall_at_10": float((np.clip(k - first + 1, 0, tied) / tied).mean()),
    }


def chance_metrics(items: int, k: int = 10) -> RetrievalMetrics:
    """Return what a random order of N items gives in expectation."""
    places = np.arange(1, items + 1)
    return {
        "mrr": float((1 / places).mean()),
        "ar": float(places.mean()),
        "recall_at_10": min(k / items, 1.0),
    }


def top_share_cosine(
    scores: NDArray[np.floating],
    values: Sequence[NDArray[np.floating]],
    *,
    share: float = 0.05,
) -> NDArray[np.float64]:
    """Average cosine similarity between each query's true item and its best-scored items: (N,).

    ``values`` hold what is compared of piece i, (F,) or (T, F): its curve, its mean curve, its mean
    features, in the scale that is to be reported; since piece i is both query and answer, the same
    list serves both directions. The best-scored are the top ``share`` of the N items, rounded down,
    at least one; the true item is compared with itself where it is among them, and comes last among
    items that score the same. Sequences are compared as flattened vectors over the steps that both
    have: where lengths differ (PMEmo), the longer one is cut to the shorter. A cosine with zeros is
    zero.

    Fig. 5 of Takashima et al. 2023: their published analysis compares in the query's modality, M2E
    the mean music features and E2M the mean valence and arousal over time.

    Raises:
        ValueError: the matrix is not square or holds NaN, or there are not N values.
    """
    _require_scores(scores)
    if len(values) != len(scores):
        raise ValueError(f"{len(scores)} items but {len(values)} values")
    top = max(int(len(scores) * share), 1)
    own = np.eye(len(scores), dtype=bool)
    best = np.lexsort((own, -scores), axis=1)[:, :top]
    return np.array(
        [
            np.mean([_cosine(values[query], values[item]) for item in found])
            for query, found in enumerate(best)
        ]
    )


def _cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    steps = min(len(first), len(second))
    one = first[:steps].astype(np.float64).ravel()
    other = second[:steps].astype(np.float64).ravel()
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0 else 0.0
