"""What a recipe minimises: the losses of the paper, or those our own recipe trains on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoders import Encoded, EncoderKind
from training.losses import composite_loss, kl_matrix, pearson_matrix
from training.recipes import Recipe


class Objective(nn.Module):
    """What a recipe minimises, with the scales that it learns on the way.

    ``composite`` is the paper's loss. ``contrastive`` has its two terms each as a ranking with a
    softmax over the batch (InfoNCE, van den Oord et al. 2018) in place of a sum of correlations and
    a hinge. To either, a recipe's estimate share adds the error of estimating each curve from the
    batch's other curves, weighted by their composite scores, as models/estimate.py does: ranking
    alone may be content with the axis that is easier to hear. Members of a committee rank each for
    itself, with scales that they share; estimates are made by all together.
    """

    def __init__(self, recipe: Recipe, encoder: EncoderKind) -> None:
        super().__init__()
        self._recipe = recipe
        self._estimate_share = recipe.estimate_share(encoder)
        self._members = 1 if recipe.committee is None else recipe.committee.members
        member_dimensions = recipe.dimensions / self._members
        per_dimension = 1.0 if recipe.objective == "composite" else 1.0 / member_dimensions
        self.log_correlation_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.log_divergence_scale = nn.Parameter(torch.tensor(math.log(10.0 * per_dimension)))

    def divergence_scale(self) -> float:
        """Return s: 1 in the paper; ours puts ρ and KL on the scales learned for ranking."""
        if self._recipe.objective == "composite":
            return 1.0
        ratio = self.log_divergence_scale - self.log_correlation_scale
        # Side by side, members' ρ are averaged and their KL summed.
        return float(ratio.detach().exp()) / self._members

    def forward(self, music: Encoded, emotion: Encoded, curves: Tensor) -> Tensor:
        """Return the loss per pair of a batch; ``curves`` (B, 60, 2) are the emotions."""
        music, emotion = self._by_member(music), self._by_member(emotion)
        correlation_logits = self.log_correlation_scale.exp() * pearson_matrix(music, emotion)
        divergence_scale = self.log_divergence_scale.exp()
        music_logits = -divergence_scale * kl_matrix(music, emotion)
        if self._recipe.objective == "composite":
            weight, margin = self._recipe.weight, self._recipe.margin
            loss = composite_loss(music, emotion, weight=weight, margin=margin) / len(curves)
            loss = loss.mean()
        else:
            emotion_logits = -divergence_scale * kl_matrix(emotion, music)
            loss = (
                _ranking_loss(correlation_logits)
                + _ranking_loss(correlation_logits.mT)
                + _ranking_loss(music_logits)
                + _ranking_loss(emotion_logits)
            ) / 2
        if self._estimate_share == 0:
            return loss
        estimated = _curve_error((correlation_logits + music_logits).mean(dim=0), curves)
        return loss + self._estimate_share * estimated

    def _by_member(self, encoded: Encoded) -> Encoded:
        """(B, D) → (M, B, D / M)."""
        return Encoded(
            *(part.reshape(len(part), self._members, -1).transpose(0, 1) for part in encoded)
        )


def _ranking_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of finding each query's own item among the batch's, over (M, B, B)."""
    own = torch.arange(logits.shape[1], device=logits.device).repeat(len(logits))
    return functional.cross_entropy(logits.flatten(0, 1), own)


def _curve_error(logits: Tensor, curves: Tensor) -> Tensor:
    """Mean squared error, relative to the curves' variance, of leave-one-out weighted curves."""
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    shares = logits.masked_fill(own, -torch.inf).softmax(dim=1)
    flat = curves.flatten(1)
    error = (shares @ flat - flat) ** 2
    return error.mean() / flat.var().clamp_min(1e-6)
