"""The composite similarity, as its plain definition and as one inner product.

Takashima et al. 2023, section III: an item is an embedding E and a Gaussian N(μ, diag σ); a query q
and an item t are alike as

    λ · ρ(E_q, E_t) - (1 - λ) · s · KL(N_q ‖ N_t)

with ρ Pearson's coefficient over the D dimensions and s = 1 in the paper. The query always comes
first. :func:`composite` is the definition, in float64; :func:`item_vectors` and
:func:`query_vectors` give the same number as one inner product plus a constant of the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Encodings:
    """What a tower says of N items: three (N, D) arrays; ``variance`` is positive."""

    embedding: Floats
    mean: Floats
    variance: Floats

    def __len__(self) -> int:
        return len(self.embedding)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.embedding.shape[1])

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Encodings:
        """Return the encodings of the given rows, in their order."""
        return Encodings(self.embedding[rows], self.mean[rows], self.variance[rows])

    def block(self, rows: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
        """Return encodings side by side (N, 3, D), and where among them the given rows are (R,)."""
        parts = [self.embedding[rows], self.mean[rows], self.variance[rows]]
        return np.stack(parts, axis=1), np.arange(len(rows))

    @classmethod
    def of_block(cls, block: Floats) -> Encodings:
        """Take embedding, mean and variance apart that lie side by side: (N, 3, D)."""
        return cls(block[:, 0], block[:, 1], block[:, 2])

    @classmethod
    def stack(cls, parts: Sequence[Encodings]) -> Encodings:
        """Put several blocks of encodings under one another."""
        return cls(
            np.concatenate([part.embedding for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.variance for part in parts]),
        )


def standardised(embedding: Floats) -> NDArray[np.float64]:
    """Centre each embedding over its D dimensions and bring it to unit length; a flat one to zero.

    (..., D) → (..., D). The inner product of two of these is Pearson's coefficient.
    """
    values = np.asarray(embedding, np.float64)
    unit: NDArray[np.float64] = values - values.mean(axis=-1, keepdims=True)
    length = np.sqrt((unit * unit).sum(axis=-1, keepdims=True))
    unit /= np.where(length > 0, length, 1.0)
    return unit


def correlation(query: Encodings, items: Encodings) -> NDArray[np.float64]:
    """Pearson's ρ of every query (Q, D) with every item (N, D): (Q, N), in float64."""
    return standardised(query.embedding) @ standardised(items.embedding).T


def kl_divergence(query: Encodings, items: Encodings) -> NDArray[np.float64]:
    """KL(N_q ‖ N_t) of every query with every item: (Q, N), in float64, query first.

    For diagonal Gaussians ½ Σ_d [ln(σ_t/σ_q) + (σ_q + (μ_q - μ_t)²)/σ_t - 1], summed without
    splitting the terms, so that nothing cancels.
    """
    item_mean = items.mean.astype(np.float64)
    item_variance = items.variance.astype(np.float64)
    rows = np.empty((len(query), len(items)))
    for row, (mean, variance) in enumerate(
        zip(query.mean.astype(np.float64), query.variance.astype(np.float64), strict=True)
    ):
        ratio = variance / item_variance
        terms = ratio - 1 - np.log(ratio) + (mean - item_mean) ** 2 / item_variance
        rows[row] = 0.5 * terms.sum(axis=1)
    return rows


def composite(
    correlations: NDArray[np.float64],
    kl_divergences: NDArray[np.float64],
    *,
    weight: float,
    divergence_scale: float,
) -> NDArray[np.float64]:
    """Combine ρ and KL of the same pairs: λ·ρ - (1 - λ)·s·KL, with λ = ``weight`` in [0, 1]."""
    return weight * correlations - (1 - weight) * divergence_scale * kl_divergences


def composite_similarity(
    query: Encodings, items: Encodings, *, weight: float, divergence_scale: float
) -> NDArray[np.float64]:
    """Composite similarity of every query with every item, (Q, N), by its definition."""
    return composite(
        correlation(query, items),
        kl_divergence(query, items),
        weight=weight,
        divergence_scale=divergence_scale,
    )


def item_vectors(items: Encodings, shift: Floats) -> NDArray[np.float32]:
    """Write items as φ(t), (N, 3D + 1) float32, for a search by inner product.

    φ(t) = [ẑ(E_t), 1/σ_t, (μ_t - c)/σ_t, Σ (μ_t - c)²/σ_t + Σ ln σ_t]; the ``shift`` c (D,) is any
    constant near the items' means: KL does not change under it, float32 rounding does.
    """
    precision = 1 / items.variance.astype(np.float64)
    mean = items.mean.astype(np.float64) - shift
    constant = (mean**2 * precision - np.log(precision)).sum(axis=1, keepdims=True)
    return np.hstack([standardised(items.embedding), precision, mean * precision, constant]).astype(
        np.float32
    )


def query_vectors(
    query: Encodings, shift: Floats, *, weight: float, divergence_scale: float
) -> NDArray[np.float32]:
    """Write queries as ψ(q), (Q, 3D + 1) float32, so that ψ(q)·φ(t) ranks like the similarity.

    ψ(q) = [λ ẑ(E_q), -½w(σ_q + (μ_q - c)²), w(μ_q - c), -½w], w = (1 - λ)·s. What is missing is
    :func:`query_offset`, the same for every item.
    """
    kl_weight = (1 - weight) * divergence_scale
    mean = query.mean.astype(np.float64) - shift
    return np.hstack(
        [
            weight * standardised(query.embedding),
            -0.5 * kl_weight * (query.variance.astype(np.float64) + mean**2),
            kl_weight * mean,
            np.full((len(query), 1), -0.5 * kl_weight),
        ]
    ).astype(np.float32)


def query_offset(
    query: Encodings, *, weight: float, divergence_scale: float
) -> NDArray[np.float64]:
    """Return ½w(D + Σ ln σ_q), (Q,): ψ(q)·φ(t) plus this is the composite similarity."""
    log_variance = np.log(query.variance.astype(np.float64)).sum(axis=1)
    offset: NDArray[np.float64] = (
        0.5 * (1 - weight) * divergence_scale * (query.dimensions + log_variance)
    )
    return offset
