"""The losses of CMER-CL (Takashima et al. 2023, section III), with gradients in closed form.

Every KL matrix here is the query-first KL(N_i ‖ N_j) of batch item i of one modality and j of the
other, through the same expansion into inner products that the search uses, so that nothing of the
size B x B x D is ever made. Runs that train together may be stacked: wherever (B, D) is written,
(R, B, D) is taken too, and where one number is returned, (R,) are; that stands in for torch's vmap,
which the closed forms do not take, nor can their gradients be differentiated again. CCA has a
module of its own.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from models.encoders import Encoded
from training.cca import cca_loss as cca_loss
from training.cca import cca_projections as cca_projections

MarginSign = Literal["standard", "printed"]

_ROWS_AT_ONCE = 256

_Gaussians = tuple[Tensor, Tensor]
"""Means and variances, (B, D) each."""


def pearson_matrix(query: Encoded, items: Encoded) -> Tensor:
    """Pearson's ρ over the D dimensions of all pairs: (Q, D), (N, D) → (Q, N)."""
    return _standardised(query.embedding) @ _standardised(items.embedding).mT


def _standardised(embedding: Tensor) -> Tensor:
    return functional.normalize(embedding - embedding.mean(dim=-1, keepdim=True), dim=-1)


def kl_matrix(query: Encoded, items: Encoded) -> Tensor:
    """KL(N_q ‖ N_t) of all pairs: (Q, D), (N, D) → (Q, N), query first."""
    parts = query.mean, query.variance, items.mean, items.variance
    divergence: Tensor = _KLMatrix.apply(*parts)  # type: ignore[no-untyped-call]
    return divergence


class _KLMatrix(Function):
    """KL of all pairs, keeping only the inputs."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(*parts)
        return _divergence((parts[0], parts[1]), (parts[2], parts[3]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        query, items = ctx.saved_tensors[:2], ctx.saved_tensors[2:]
        to_query, to_items = _nothing(query), _nothing(items)
        _pull_divergence(gradient, query, items, to_query, to_items)
        return *to_query, *to_items


def _divergence(query: _Gaussians, items: _Gaussians) -> Tensor:
    """KL of all pairs (Q, N) by two matrix products."""
    shift = _shift(items)
    mean, item_mean, precision = query[0] - shift, items[0] - shift, 1 / items[1]
    item_constant = (item_mean**2 * precision + items[1].log()).sum(dim=-1)
    query_constant = query[1].log().sum(dim=-1) + mean.shape[-1]
    divergence = (query[1] + mean**2) @ precision.mT
    divergence -= 2 * (mean @ (item_mean * precision).mT)
    divergence += item_constant[..., None, :]
    divergence -= query_constant[..., None]
    return divergence.mul_(0.5)


def _shift(items: _Gaussians) -> Tensor:
    """The items' mean, taken from all means: KL does not change under it, rounding does."""
    return items[0].mean(dim=-2, keepdim=True)


def _pull_divergence(
    gradient: Tensor,
    query: _Gaussians,
    items: _Gaussians,
    pulled_query: _Gaussians,
    pulled_items: _Gaussians,
) -> None:
    """Add to ``pulled_*`` what a gradient (Q, N) of :func:`_divergence` is for its inputs.

    Four matrix products, each a block of rows at a time, so that little is held beside the results.
    """
    shift = _shift(items)
    of_query = gradient.sum(dim=-1)[..., None]
    of_item = gradient.sum(dim=-2)[..., None]

    precision = 1 / items[1]
    weighted = (items[0] - shift) * precision
    for rows in _blocks(query):
        block = gradient[..., rows, :]
        precisions = block @ precision
        to_mean, to_variance = pulled_query[0][..., rows, :], pulled_query[1][..., rows, :]
        to_mean.addcmul_(query[0][..., rows, :] - shift, precisions).sub_(block @ weighted)
        to_variance.add_(precisions, alpha=0.5)
        to_variance.addcdiv_(of_query[..., rows, :], query[1][..., rows, :], value=-0.5)
    del precision, weighted

    mean = query[0] - shift
    energy = mean.square().add_(query[1])
    for rows in _blocks(items):
        block = gradient[..., rows].mT
        item_mean, precision = items[0][..., rows, :] - shift, 1 / items[1][..., rows, :]
        weight, means = of_item[..., rows, :], block @ mean
        distance = item_mean * weight - means
        squares = block @ energy + item_mean * (distance - means)
        pulled_items[0][..., rows, :].addcmul_(precision, distance)
        pulled_items[1][..., rows, :].addcmul_(precision, weight - precision * squares, value=0.5)


def _blocks(side: _Gaussians) -> list[slice]:
    firsts = range(0, side[0].shape[-2], _ROWS_AT_ONCE)
    return [slice(first, first + _ROWS_AT_ONCE) for first in firsts]


def _nothing(side: _Gaussians) -> _Gaussians:
    return torch.zeros_like(side[0]), torch.zeros_like(side[1])


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
    parts = music.mean, music.variance, emotion.mean, emotion.variance
    signed = margin if margin_sign == "standard" else -margin
    loss: Tensor = _RankingLoss.apply(*parts, signed)  # type: ignore[no-untyped-call]
    return loss


class _RankingLoss(Function):
    """Both directions, keeping only the inputs and which hinges are open.

    As one function, so that both directions' gradients are added up in one place.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *parts, margin = arguments
        music, emotion = (parts[0], parts[1]), (parts[2], parts[3])
        by_music, open_to_music = _hinges(_divergence(music, emotion), margin)
        by_emotion, open_to_emotion = _hinges(_divergence(emotion, music), margin)
        ctx.save_for_backward(*parts, open_to_music, open_to_emotion)
        return by_music + by_emotion

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *parts, open_to_music, open_to_emotion = ctx.saved_tensors
        music, emotion = (parts[0], parts[1]), (parts[2], parts[3])
        to_music, to_emotion = _nothing(music), _nothing(emotion)
        _pull_divergence(
            _hinge_gradient(gradient, open_to_music), music, emotion, to_music, to_emotion
        )
        _pull_divergence(
            _hinge_gradient(gradient, open_to_emotion), emotion, music, to_emotion, to_music
        )
        return *to_music, *to_emotion, None


def hinge_sum(divergence: Tensor, margin: float | Tensor) -> Tensor:
    """Σ_i Σ_{j≠i} max{0, α + D_ii - D_ij} of a (B, B) matrix; row i ranks its columns."""
    total: Tensor = _HingeSum.apply(divergence, margin)  # type: ignore[no-untyped-call]
    return total


class _HingeSum(Function):
    """The sum, keeping only which hinges are open."""

    @staticmethod
    def forward(ctx: Any, divergence: Tensor, margin: float | Tensor) -> Tensor:
        total, is_open = _hinges(divergence, margin)
        ctx.save_for_backward(is_open)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (is_open,) = ctx.saved_tensors
        return _hinge_gradient(gradient, is_open), None


def _hinges(divergence: Tensor, margin: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of a matrix's hinges and which of them are open, (B, B)."""
    if isinstance(margin, Tensor):
        margin = margin[..., None]
    bound = divergence.diagonal(dim1=-2, dim2=-1) + margin
    hinge = bound[..., None] - divergence
    hinge.diagonal(dim1=-2, dim2=-1).zero_()
    is_open = hinge > 0
    return hinge.clamp_min_(0).sum(dim=(-2, -1)), is_open


def _hinge_gradient(gradient: Tensor, is_open: Tensor) -> Tensor:
    pulled = -gradient[..., None, None] * is_open
    pulled.diagonal(dim1=-2, dim2=-1).sub_(pulled.sum(dim=-1))
    return pulled


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
