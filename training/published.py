"""What the authors' published code does where it departs from the paper's formulas.

Facts about ccilab-doshisha/emer-cl, written anew, so that the paper's headline can be reproduced
and its departures shown beside the corrected method (training/losses.py, models/similarity.py).
Adopted here are the two losses and the evaluation. Not adopted: a variance of exp(head) + 1e-6
(ours is softplus + 0.01, so that a float32 search stays sound), the DEAM songs whose arousal stands
in for their valence, PMEmo left in [0, 1], and dropout that is never switched on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.encoders import Encoded
from models.similarity import Encodings, composite
from training.losses import hinge_sum, kl_matrix

_TRUE_DIVERGENCE_WEIGHT = 1e-3
_RIDGE = 1e-4
_SMALLEST_CORRELATION = 0.4


def published_ranking_loss(music: Encoded, emotion: Encoded, margin: float | Tensor) -> Tensor:
    """Hinge sums that rank over the *first* argument of KL, with a pull on every true divergence.

    Σ_i Σ_{j≠i} max{0, α + KL(m_i ‖ e_i) - KL(m_j ‖ e_i)}: an emotion chooses among recordings by
    the divergence from the recording, where the paper has a recording choose among emotions; and
    the same with the modalities exchanged. To each of the B x B entries of both matrices, the true
    pairs' own included, 1e-3 |KL(m_i ‖ e_i)| is added.

    Encodings (B, D) → one number; stacked runs (R, B, D) → (R,), ``margin`` one number or (R,).
    """
    total = torch.zeros((), dtype=music.mean.dtype, device=music.mean.device)
    for query, items in ((music, emotion), (emotion, music)):
        divergence = kl_matrix(query, items)
        true = divergence.diagonal(dim1=-2, dim2=-1).abs().sum(dim=-1)
        pull = _TRUE_DIVERGENCE_WEIGHT * divergence.shape[-1] * true
        total = total + hinge_sum(divergence.mT, margin) + pull
    return total


def published_cca_map(dimensions: int, generator: torch.Generator) -> Tensor:
    """Draw the initial W (D, D) of one modality: normal, deviation 0.1, cut at two deviations."""
    drawn = torch.empty(dimensions, dimensions)
    return nn.init.trunc_normal_(drawn, std=0.1, a=-0.2, b=0.2, generator=generator)


def published_cca_loss(
    music: Tensor, emotion: Tensor, music_map: Tensor, emotion_map: Tensor
) -> Tensor:
    """A correlation under trained maps W, with a soft constraint in place of whitening.

    Each *sample* is centred over its D dimensions, where CCA centres each dimension over the batch.
    With Σ = XᵀY / (B - 1) of what that leaves and M = W_mᵀ Σ_me W_e, the loss is

        -tr √(M Mᵀ) + ½ Σ |(I - W_mᵀ (Σ_mm + 1e-4 I) W_m) + (I - W_eᵀ (Σ_ee + 1e-4 I) W_e)|

    where √ is taken of each element, so that the trace is the sum of the lengths of M's rows and
    not that of its singular values, and |.| is taken of the two constraints' sum, so that one may
    be violated upwards where the other is downwards. ``music_map`` and ``emotion_map`` (D, D) are
    parameters, trained with the towers and then thrown away: linear CCA
    (:func:`training.losses.cca_projections`) is fitted to the training set afterwards.

    Batches (B, D), B > 1 → one number; stacked runs (R, B, D) with maps (R, D, D) → (R,).
    """
    degrees = music.shape[-2] - 1
    music = music - music.mean(dim=-1, keepdim=True)
    emotion = emotion - emotion.mean(dim=-1, keepdim=True)
    mapped = music @ music_map, emotion @ emotion_map
    cross = mapped[0].mT @ mapped[1] / degrees
    identity = torch.eye(music.shape[-1], dtype=music.dtype, device=music.device)
    violation = 2 * identity
    for side, weights in zip(mapped, (music_map, emotion_map), strict=True):
        violation = violation - side.mT @ side / degrees - _RIDGE * (weights.mT @ weights)
    loss: Tensor = 0.5 * violation.abs().sum(dim=(-2, -1)) - torch.linalg.vector_norm(
        cross, dim=-1
    ).sum(dim=-1)
    return loss


def published_composite_loss(
    music: Encoded,
    emotion: Encoded,
    maps: tuple[Tensor, Tensor],
    *,
    weight: float,
    margin: float | Tensor,
) -> Tensor:
    """λ · published CCA + (1 - λ) · published ranking, λ = ``weight`` in [0, 1].

    ``maps`` are music's and emotion's; at λ = 0 or 1 only the one part is computed.
    """
    if weight == 0:
        return published_ranking_loss(music, emotion, margin)
    correlating = published_cca_loss(music.embedding, emotion.embedding, *maps)
    if weight == 1:
        return correlating
    return weight * correlating + (1 - weight) * published_ranking_loss(music, emotion, margin)


def published_composite(
    correlations: NDArray[np.float64], divergences: NDArray[np.float64], *, weight: float
) -> NDArray[np.float64]:
    """Score as the published evaluation does: the KL matrix is transposed when it is added.

    Both inputs are correct, (N, N), query first: row i is query i, column j item j, whose
    counterparts have the same number. What is returned has the query of ``correlations`` in its
    rows, but adds KL(q_j ‖ t_i) where KL(q_i ‖ t_j) belongs:

        M2E  score[i, j] = λ ρ(music i, emotion j) - (1 - λ) KL(music j ‖ emotion i)
        E2M  score[i, j] = λ ρ(emotion i, music j) - (1 - λ) KL(emotion j ‖ music i)

    So row i holds the divergences of the *answer* t_i from every query: a query is scored with the
    help of its own answer, and at λ = 0 it is the other direction's question, by KL(item ‖ query).
    ``correlations`` are Pearson's ρ or what :class:`RegressionLines` gives. λ is ``weight``.

    Raises:
        ValueError: the matrices are not square and of one size.
    """
    if correlations.shape != divergences.shape or len(set(correlations.shape)) != 1:
        raise ValueError(
            f"expected square matrices of one size, got {correlations.shape} and "
            f"{divergences.shape}"
        )
    return composite(correlations, divergences.T, weight=weight, divergence_scale=1.0)


@dataclass(frozen=True, eq=False)
class RegressionLines:
    """The published similarity in place of Pearson's ρ: how far items lie from fitted lines.

    For one direction, per dimension d of the embeddings: E_t ≈ ``slope`` E_q + ``intercept``, and
    the ``correlation`` of the two over the training pairs; three (D,) arrays. Only dimensions whose
    correlation is at least 0.4 count. Embeddings are those after linear CCA.
    """

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    correlation: NDArray[np.float64]

    @classmethod
    def fit(cls, query: Encodings, items: Encodings) -> RegressionLines:
        """Fit least squares to training pairs, query n with item n, (N, D) each.

        A dimension that is constant on either side has no correlation and never counts.
        """
        x, y = query.embedding.astype(np.float64), items.embedding.astype(np.float64)
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        product = ((x - x_mean) * (y - y_mean)).sum(axis=0)
        x_square, y_square = ((x - x_mean) ** 2).sum(axis=0), ((y - y_mean) ** 2).sum(axis=0)
        varies = (x_square > 0) & (y_square > 0)
        slope = np.divide(product, x_square, out=np.zeros_like(product), where=varies)
        correlation = np.divide(
            product, np.sqrt(x_square * y_square), out=np.zeros_like(product), where=varies
        )
        return cls(slope, y_mean - slope * x_mean, correlation)

    def similarity(self, query: Encodings, items: Encodings) -> NDArray[np.float64]:
        """-Σ_d r_d |E_t - (slope E_q + intercept)| of all pairs: (Q, D), (N, D) → (Q, N)."""
        counted = self.correlation >= _SMALLEST_CORRELATION
        weights = self.correlation[counted]
        expected = query.embedding * self.slope + self.intercept
        found = items.embedding[:, counted]
        rows = [-np.abs(found - row) @ weights for row in expected[:, counted]]
        return np.reshape(rows, (len(query), len(items)))
