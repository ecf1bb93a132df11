"""The composite similarity once more, written naively from the paper, over the database's rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.similarity import Encodings


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])


def kl_divergence(
    mean_q: np.ndarray, variance_q: np.ndarray, mean_t: np.ndarray, variance_t: np.ndarray
) -> float:
    total = 0.0
    for m, v, n, w in zip(mean_q, variance_q, mean_t, variance_t, strict=True):
        m, v, n, w = float(m), float(v), float(n), float(w)
        total += np.log(w / v) + (v + (m - n) ** 2) / w - 1
    return total / 2


def scores(
    query: Encodings, q: int, items: Encodings, t: int, weight: float, scale: float
) -> tuple[float, float, float]:
    """(score, correlation, KL) of one pair."""
    rho = correlation(query.embedding[q], items.embedding[t])
    kl = kl_divergence(query.mean[q], query.variance[q], items.mean[t], items.variance[t])
    return weight * rho - (1 - weight) * scale * kl, rho, kl


def ranking(
    query: Encodings, items: Encodings, owners: list[str], weight: float, scale: float
) -> list[tuple[float, str]]:
    """Every owner's best (score, id), best first, equal scores by id."""
    best: dict[str, float] = {}
    for q in range(len(query)):
        for t, owner in enumerate(owners):
            score = scores(query, q, items, t, weight, scale)[0]
            best[owner] = max(best.get(owner, -np.inf), score)
    return sorted(((score, owner) for owner, score in best.items()), key=lambda x: (-x[0], x[1]))


def stacked(rows: list[Any]) -> Encodings:
    return Encodings(
        np.stack([row.embedding for row in rows]),
        np.stack([row.mean for row in rows]),
        np.stack([row.variance for row in rows]),
    )
