"""The losses of CMER-CL (Takashima et al. 2023, section III).

Every KL matrix here is the query-first KL(N_i ‖ N_j) of batch item i of one modality and j of the
other, through the same expansion into inner products that the search uses.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.encoders import Encoded

_CCA_RIDGE = 1e-4


def kl_matrix(query: Encoded, items: Encoded) -> Tensor:
    """KL(N_q ‖ N_t) of all pairs: (Q, D), (N, D) → (Q, N), query first."""
    precision = 1 / items.variance
    shift = items.mean.mean(dim=0).detach()
    query_mean, item_mean = query.mean - shift, items.mean - shift
    quadratic = (query.variance + query_mean**2) @ precision.T
    cross = query_mean @ (item_mean * precision).T
    item_constant = (item_mean**2 * precision + items.variance.log()).sum(dim=1)
    query_constant = query.variance.log().sum(dim=1)[:, None] + query.mean.shape[1]
    return 0.5 * (quadratic - 2 * cross + item_constant - query_constant)


def pearson_matrix(query: Encoded, items: Encoded) -> Tensor:
    """Pearson's ρ over the D dimensions of all pairs: (Q, N)."""
    return _standardised(query.embedding) @ _standardised(items.embedding).T


def _standardised(embedding: Tensor) -> Tensor:
    return functional.normalize(embedding - embedding.mean(dim=1, keepdim=True), dim=1)


def cca_loss(music: Tensor, emotion: Tensor) -> Tensor:
    """Negative sum of the canonical correlations of two (B, D) batches (Andrew et al. 2013).

    Computed in float64, with a ridge on both covariances relative to their mean variance, so that
    it stays finite and differentiable where B ≤ D.
    """
    music64, emotion64 = music.double(), emotion.double()
    music64 = music64 - music64.mean(dim=0)
    emotion64 = emotion64 - emotion64.mean(dim=0)
    scale = max(len(music64) - 1, 1)
    cross = music64.T @ emotion64 / scale
    whitened = torch.linalg.solve_triangular(_whitener(music64, scale), cross, upper=False)
    whitened = torch.linalg.solve_triangular(_whitener(emotion64, scale), whitened.T, upper=False)
    correlations: Tensor = torch.linalg.svdvals(whitened)
    return -correlations.sum()


def _whitener(centred: Tensor, scale: int) -> Tensor:
    """Return the Cholesky factor of the regularised covariance."""
    covariance = centred.T @ centred / scale
    ridge = _CCA_RIDGE * covariance.diagonal().mean() + 1e-12
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    factor: Tensor = torch.linalg.cholesky(covariance + ridge * identity)
    return factor


def cca_projections(music: Tensor, emotion: Tensor) -> tuple[Tensor, Tensor]:
    """Fit linear CCA on two (N, D) sets; returns W_music and W_emotion, each (D, D), float64.

    Columns are canonical directions, strongest first; the projections of the centred data have
    unit variance and correlate dimension by dimension.
    """
    music64 = music.double() - music.double().mean(dim=0)
    emotion64 = emotion.double() - emotion.double().mean(dim=0)
    scale = max(len(music64) - 1, 1)
    lower_m = _whitener(music64, scale)
    lower_e = _whitener(emotion64, scale)
    cross = music64.T @ emotion64 / scale
    whitened = torch.linalg.solve_triangular(lower_m, cross, upper=False)
    whitened = torch.linalg.solve_triangular(lower_e, whitened.T, upper=False).T
    left, _, right = torch.linalg.svd(whitened)
    return (
        torch.linalg.solve_triangular(lower_m.T, left, upper=True),
        torch.linalg.solve_triangular(lower_e.T, right.T, upper=True),
    )


def kl_ranking_loss(music: Encoded, emotion: Encoded, margin: float) -> Tensor:
    """Hinge sums over all negatives of the batch, in both directions, with the standard margin.

    Σ_i Σ_{j≠i} max{0, α + KL(m_i ‖ e_i) - KL(m_i ‖ e_j)}, and the same with emotions asking. The
    paper prints the sign of the margin the other way round, which has a trivial minimum.
    """
    return _hinge_sum(kl_matrix(music, emotion), margin) + _hinge_sum(
        kl_matrix(emotion, music), margin
    )


def _hinge_sum(divergence: Tensor, margin: float) -> Tensor:
    true = divergence.diagonal()[:, None]
    hinge = (margin + true - divergence).clamp_min(0)
    return hinge.sum() - hinge.diagonal().sum()


def composite_loss(music: Encoded, emotion: Encoded, *, weight: float, margin: float) -> Tensor:
    """λ · CCA + (1 - λ) · KL ranking, the paper's composite loss."""
    return weight * cca_loss(music.embedding, emotion.embedding) + (1 - weight) * kl_ranking_loss(
        music, emotion, margin
    )
