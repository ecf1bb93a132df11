"""Canonical correlations: the loss (Takashima et al. 2023, section III-B) and the fit.

Runs that train together may be stacked: wherever (B, D) is written, (R, B, D) is taken too, and
where one number is returned, (R,) are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_CCA_RIDGE = 1e-4
_ROWS_AT_ONCE = 256
_UNRELATED = 1e-7
"""Canonical correlations below this share of the largest are rounding of their squares."""


def cca_loss(music: Tensor, emotion: Tensor) -> Tensor:
    """Negative sum of the canonical correlations of two (B, D) batches (Andrew et al. 2013).

    Computed in float64, with a ridge on both covariances relative to their mean variance, so that
    it stays finite and differentiable where B ≤ D. Directions in which nothing correlates have no
    gradient: the shortest of the subgradients there.

    Raises:
        RuntimeError: an input is not finite.
    """
    sizes = music.shape[-1], emotion.shape[-1]
    loss: Tensor = _NegativeCorrelationSum.apply(  # type: ignore[no-untyped-call]
        _compact(music), _compact(emotion), *sizes
    )
    return loss


def _compact(batch: Tensor) -> Tensor:
    """Rotate B < D items into the B dimensions that they span, (B, D) → (B, B); else as it is.

    Their canonical correlations stay the same and no gradient leads out of that span, so that the
    rotation counts as a constant, and everything cubic in D becomes cubic in B.
    """
    if batch.shape[-2] >= batch.shape[-1]:
        return batch
    centred = batch - batch.mean(dim=-2, keepdim=True, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(centred.detach().mT).Q
    return centred @ basis


class _NegativeCorrelationSum(Function):
    """The loss together with its gradient, so that nothing but the gradient outlives the call.

    With the whitened cross-covariance T = L_m⁻¹ Σ_me L_e⁻ᵀ = U S Vᵀ, A = L_m⁻ᵀ U and B = L_e⁻ᵀ V,
    the gradients of ΣS are A Bᵀ for Σ_me and -½ A S Aᵀ for Σ_mm (Andrew et al. 2013, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any, music: Tensor, emotion: Tensor, music_size: int, emotion_size: int
    ) -> Tensor:
        whitened, music_factor, emotion_factor = _whitened(music, emotion, music_size, emotion_size)
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
            shrinkage = (
                _shrinkage(left, correlations, music_size),
                _shrinkage(right, correlations, emotion_size),
            )
            ctx.save_for_backward(
                *_correlation_gradients(music, emotion, left, right, correlations, shrinkage)
            )
        return -correlations.sum(dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_music, to_emotion = ctx.saved_tensors
        share = gradient[..., None, None].to(to_music.dtype)
        return share * to_music, share * to_emotion, None, None


def _whitened(
    music: Tensor, emotion: Tensor, music_size: int, emotion_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """L_m⁻¹ Σ_me L_e⁻ᵀ, whose singular values are the canonical correlations, with L_m and L_e."""
    of_music, of_emotion, cross = _covariances(music, emotion)
    music_factor = _factor(of_music, music_size)
    del of_music
    emotion_factor = _factor(of_emotion, emotion_size)
    del of_emotion
    cross = torch.linalg.solve_triangular(music_factor, cross, upper=False)
    cross = torch.linalg.solve_triangular(emotion_factor, cross.mT, upper=False).mT
    return cross, music_factor, emotion_factor


def _covariances(music: Tensor, emotion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σ_mm, Σ_ee and Σ_me in float64."""
    sums = [
        torch.zeros(
            (*music.shape[:-2], one.shape[-1], other.shape[-1]),
            dtype=torch.float64,
            device=music.device,
        )
        for one, other in ((music, music), (emotion, emotion), (music, emotion))
    ]
    for _, heard, felt in _centred_blocks(music, emotion):
        sums[0] += heard.mT @ heard
        sums[1] += felt.mT @ felt
        sums[2] += heard.mT @ felt
    of_music, of_emotion, cross = (total.div_(_degrees(music)) for total in sums)
    return of_music, of_emotion, cross


def _centred_blocks(music: Tensor, emotion: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Both batches in float64, centred, a block of rows at a time: little is held in float64."""
    centres = [side.mean(dim=-2, keepdim=True, dtype=torch.float64) for side in (music, emotion)]
    for first in range(0, music.shape[-2], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        yield rows, music[..., rows, :] - centres[0], emotion[..., rows, :] - centres[1]


def _factor(covariance: Tensor, size: int) -> Tensor:
    """Cholesky factor, with a ridge relative to the mean variance of D = ``size`` dimensions."""
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    diagonal += _CCA_RIDGE * diagonal.sum(dim=-1, keepdim=True) / size + 1e-12
    factor: Tensor = torch.linalg.cholesky(covariance)
    return factor


def _degrees(batch: Tensor) -> int:
    return max(batch.shape[-2] - 1, 1)


def _shrinkage(directions: Tensor, correlations: Tensor, size: int) -> Tensor:
    """How much ΣS loses to the ridge's following the mean variance: (ridge / D) ΣS‖A‖²."""
    spread = (correlations * directions.square().sum(dim=-2)).sum(dim=-1)
    return (_CCA_RIDGE / size * spread)[..., None, None]


def _correlation_gradients(
    music: Tensor,
    emotion: Tensor,
    left: Tensor,
    right: Tensor,
    correlations: Tensor,
    shrinkage: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Gradients of -ΣS for both batches.

    For music, with the canonical variates X A and Y B: ((X A) S - Y B) Aᵀ and the ridge's part.
    """
    to_music, to_emotion = torch.empty_like(music), torch.empty_like(emotion)
    scale, degrees = correlations[..., None, :], _degrees(music)
    for rows, heard, felt in _centred_blocks(music, emotion):
        own, other = heard @ left, felt @ right
        pulled = (own * scale - other) @ left.mT + shrinkage[0] * heard
        to_music[..., rows, :] = pulled / degrees
        pulled = (other * scale - own) @ right.mT + shrinkage[1] * felt
        to_emotion[..., rows, :] = pulled / degrees
    return to_music, to_emotion


def cca_projections(music: Tensor, emotion: Tensor) -> tuple[Tensor, Tensor]:
    """Fit linear CCA on two (N, D) sets; returns W_music and W_emotion, each (D, D), float64.

    Columns are canonical directions, strongest first; the projections of the centred data have
    unit variance and correlate dimension by dimension (section III-B).
    """
    whitened, music_factor, emotion_factor = _whitened(
        music, emotion, music.shape[-1], emotion.shape[-1]
    )
    left, _, right = torch.linalg.svd(whitened)
    return (
        torch.linalg.solve_triangular(music_factor.mT, left, upper=True),
        torch.linalg.solve_triangular(emotion_factor.mT, right.mT, upper=True),
    )
