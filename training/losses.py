"""The losses of CMER-CL (Takashima et al. 2023, section III), and their gradients in closed form.

Every KL matrix here is the query-first KL(N_i ‖ N_j) of batch item i of one modality and j of the
other, through the same expansion into inner products that the search uses, so that nothing of the
size B x B x D is ever made. Runs that train together may be stacked: wherever (B, D) is written,
(R, B, D) is taken too, and where one number is returned, (R,) are.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from models.encoders import Encoded

MarginSign = Literal["standard", "printed"]

_CCA_RIDGE = 1e-4
_UNRELATED = 1e-7
"""Canonical correlations below this share of the largest are rounding of their squares."""


def kl_matrix(query: Encoded, items: Encoded) -> Tensor:
    """KL(N_q ‖ N_t) of all pairs: (Q, D), (N, D) → (Q, N), query first."""
    parts = query.mean, query.variance, items.mean, items.variance
    divergence: Tensor = _KLMatrix.apply(*parts)  # type: ignore[no-untyped-call]
    return divergence


class _KLMatrix(Function):
    """KL of all pairs by two matrix products, its gradient by four, keeping only the inputs."""

    @staticmethod
    def forward(
        ctx: Any, query_mean: Tensor, query_variance: Tensor, item_mean: Tensor, variance: Tensor
    ) -> Tensor:
        ctx.save_for_backward(query_mean, query_variance, item_mean, variance)
        query_mean, item_mean = _near_zero(query_mean, item_mean)
        precision = 1 / variance
        item_constant = (item_mean**2 * precision + variance.log()).sum(dim=-1)
        query_constant = query_variance.log().sum(dim=-1) + query_mean.shape[-1]
        divergence = (query_variance + query_mean**2) @ precision.mT
        divergence -= 2 * (query_mean @ (item_mean * precision).mT)
        divergence += item_constant[..., None, :]
        divergence -= query_constant[..., None]
        return divergence.mul_(0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query_mean, query_variance, item_mean, variance = ctx.saved_tensors
        query_mean, item_mean = _near_zero(query_mean, item_mean)
        precision = 1 / variance
        of_query = gradient.sum(dim=-1)[..., None]
        of_item = gradient.sum(dim=-2)[..., None]

        pulled_precision = gradient @ precision
        to_query_mean = query_mean * pulled_precision - gradient @ (item_mean * precision)
        to_query_variance = (pulled_precision - of_query / query_variance).mul_(0.5)
        del pulled_precision

        pulled_mean = gradient.mT @ query_mean
        squares = gradient.mT @ (query_variance + query_mean**2)
        squares += item_mean * (item_mean * of_item - 2 * pulled_mean)
        to_item_mean = precision * (item_mean * of_item - pulled_mean)
        to_item_variance = squares.mul_(precision).neg_().add_(of_item).mul_(precision).mul_(0.5)
        return to_query_mean, to_query_variance, to_item_mean, to_item_variance


def _near_zero(query_mean: Tensor, item_mean: Tensor) -> tuple[Tensor, Tensor]:
    """Shift both by the items' mean: KL does not change under it, rounding does."""
    shift = item_mean.mean(dim=-2, keepdim=True)
    return query_mean - shift, item_mean - shift


def pearson_matrix(query: Encoded, items: Encoded) -> Tensor:
    """Pearson's ρ over the D dimensions of all pairs: (Q, D), (N, D) → (Q, N)."""
    return _standardised(query.embedding) @ _standardised(items.embedding).mT


def _standardised(embedding: Tensor) -> Tensor:
    return functional.normalize(embedding - embedding.mean(dim=-1, keepdim=True), dim=-1)


def cca_loss(music: Tensor, emotion: Tensor) -> Tensor:
    """Negative sum of the canonical correlations of two (B, D) batches (Andrew et al. 2013).

    Computed in float64, with a ridge on both covariances relative to their mean variance, so that
    it stays finite and differentiable where B ≤ D. Directions in which nothing correlates have no
    gradient: the shortest of the subgradients there.

    Raises:
        RuntimeError: an input is not finite.
    """
    loss: Tensor = _NegativeCorrelationSum.apply(music, emotion)  # type: ignore[no-untyped-call]
    return loss


class _NegativeCorrelationSum(Function):
    """The loss together with its gradient, so that nothing but the gradient outlives the call.

    With the whitened cross-covariance T = L_m⁻¹ Σ_me L_e⁻ᵀ = U S Vᵀ, A = L_m⁻ᵀ U and B = L_e⁻ᵀ V,
    the gradients of ΣS are A Bᵀ for Σ_me and -½ A S Aᵀ for Σ_mm (Andrew et al. 2013, section 3).
    """

    @staticmethod
    def forward(ctx: Any, music: Tensor, emotion: Tensor) -> Tensor:
        heard, heard_basis = _compact(_centred(music))
        felt, felt_basis = _compact(_centred(emotion))
        music_factor = _covariance_factor(heard, music.shape[-1])
        emotion_factor = _covariance_factor(felt, emotion.shape[-1])
        whitened = _whitened_cross(heard, felt, music_factor, emotion_factor)
        squares, left = torch.linalg.eigh(whitened @ whitened.mT)
        related = squares > _UNRELATED**2 * squares[..., -1:]
        correlations: Tensor = squares.where(related, 0).sqrt()
        if any(ctx.needs_input_grad):
            inverse = related / correlations.where(related, 1)
            right = whitened.mT @ (left * inverse[..., None, :])
            del whitened
            left = torch.linalg.solve_triangular(music_factor.mT, left, upper=True)
            right = torch.linalg.solve_triangular(emotion_factor.mT, right, upper=True)
            del music_factor, emotion_factor
            variates = heard @ left, felt @ right
            ctx.save_for_backward(
                _pull(music, heard, heard_basis, *variates, left, correlations),
                _pull(emotion, felt, felt_basis, *variates[::-1], right, correlations),
            )
        return -correlations.sum(dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        to_music, to_emotion = ctx.saved_tensors
        share = gradient[..., None, None].to(to_music.dtype)
        return share * to_music, share * to_emotion


def _centred(batch: Tensor) -> Tensor:
    return batch.double() - batch.double().mean(dim=-2, keepdim=True)


def _compact(centred: Tensor) -> tuple[Tensor, Tensor | None]:
    """Rotate B < D items into the B dimensions that they span: (B, D) → (B, B), (D, B).

    Their canonical correlations stay the same, and everything cubic in D becomes cubic in B.
    """
    if centred.shape[-2] >= centred.shape[-1]:
        return centred, None
    basis, coordinates = torch.linalg.qr(centred.mT)
    return coordinates.mT, basis


def _covariance_factor(centred: Tensor, dimensions: int) -> Tensor:
    """Return the Cholesky factor of the covariance, with a ridge on its ``dimensions``."""
    covariance = centred.mT @ centred / _degrees(centred)
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    ridge = _CCA_RIDGE * diagonal.sum(dim=-1, keepdim=True) / dimensions + 1e-12
    diagonal += ridge
    factor: Tensor = torch.linalg.cholesky(covariance)
    return factor


def _degrees(batch: Tensor) -> int:
    return max(batch.shape[-2] - 1, 1)


def _whitened_cross(
    music: Tensor, emotion: Tensor, music_factor: Tensor, emotion_factor: Tensor
) -> Tensor:
    """L_m⁻¹ Σ_me L_e⁻ᵀ; its singular values are the canonical correlations."""
    cross = music.mT @ emotion / _degrees(music)
    cross = torch.linalg.solve_triangular(music_factor, cross, upper=False)
    whitened: Tensor = torch.linalg.solve_triangular(emotion_factor, cross.mT, upper=False)
    return whitened.mT


def _pull(
    batch: Tensor,
    centred: Tensor,
    basis: Tensor | None,
    own: Tensor,
    other: Tensor,
    directions: Tensor,
    correlations: Tensor,
) -> Tensor:
    """Gradient of -ΣS for one side's batch, of its dtype.

    Canonical variates ``own`` X A and ``other`` Y B, each (B, K): ((X A) S - Y B) Aᵀ and, because
    the ridge follows the mean variance, (ridge / D) ΣS‖A‖² X, both over the degrees of freedom.
    """
    pulled = (own * correlations[..., None, :]).sub_(other) @ directions.mT
    spread = (correlations * directions.square().sum(dim=-2)).sum(dim=-1)
    pulled += (_CCA_RIDGE / batch.shape[-1] * spread)[..., None, None] * centred
    if basis is not None:
        pulled = pulled @ basis.mT
    return pulled.div_(_degrees(batch)).to(batch.dtype)


def cca_projections(music: Tensor, emotion: Tensor) -> tuple[Tensor, Tensor]:
    """Fit linear CCA on two (N, D) sets; returns W_music and W_emotion, each (D, D), float64.

    Columns are canonical directions, strongest first; the projections of the centred data have
    unit variance and correlate dimension by dimension (section III-B).
    """
    heard, felt = _centred(music), _centred(emotion)
    music_factor = _covariance_factor(heard, music.shape[-1])
    emotion_factor = _covariance_factor(felt, emotion.shape[-1])
    left, _, right = torch.linalg.svd(_whitened_cross(heard, felt, music_factor, emotion_factor))
    return (
        torch.linalg.solve_triangular(music_factor.mT, left, upper=True),
        torch.linalg.solve_triangular(emotion_factor.mT, right.mT, upper=True),
    )


def kl_ranking_loss(
    music: Encoded,
    emotion: Encoded,
    margin: float | Tensor,
    margin_sign: MarginSign = "standard",
) -> Tensor:
    """Hinge sums over all negatives of the batch, in both directions.

    Σ_i Σ_{j≠i} max{0, α + KL(m_i ‖ e_i) - KL(m_i ‖ e_j)}, and the same with emotions asking. The
    paper prints max{0, KL(m_i ‖ e_i) - α - KL(m_i ‖ e_j)}, the ``printed`` sign, which is zero
    where every distribution is the same. ``margin`` is α, one number or one for each run (R,).
    """
    signed = margin if margin_sign == "standard" else -margin
    return hinge_sum(kl_matrix(music, emotion), signed) + hinge_sum(
        kl_matrix(emotion, music), signed
    )


def hinge_sum(divergence: Tensor, margin: float | Tensor) -> Tensor:
    """Σ_i Σ_{j≠i} max{0, α + D_ii - D_ij} of a (B, B) matrix; row i ranks its columns."""
    if isinstance(margin, Tensor):
        margin = margin[..., None, None]
    true = divergence.diagonal(dim1=-2, dim2=-1)[..., None]
    hinge = (margin + true - divergence).clamp_min(0)
    return hinge.sum(dim=(-2, -1)) - hinge.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def composite_loss(
    music: Encoded,
    emotion: Encoded,
    *,
    weight: float | Tensor,
    margin: float | Tensor,
    margin_sign: MarginSign = "standard",
) -> Tensor:
    """λ · CCA + (1 - λ) · KL ranking, the paper's composite loss.

    ``weight`` is λ in [0, 1], one number or one for each run (R,). Of a number 0 or 1
    only the one part is computed, and only its heads have a gradient.
    """
    if not isinstance(weight, Tensor) and weight == 0:
        return kl_ranking_loss(music, emotion, margin, margin_sign)
    correlating = cca_loss(music.embedding, emotion.embedding)
    if not isinstance(weight, Tensor) and weight == 1:
        return correlating
    ranking = kl_ranking_loss(music, emotion, margin, margin_sign)
    return weight * correlating + (1 - weight) * ranking
