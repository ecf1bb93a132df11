"""The towers of our own recipe: a committee of small networks over a few telling numbers.

The music tower predicts a curve's components from a window's mean features by kernel ridge
regression; the emotion tower computes the same components from the curve. On either side a
committee of small networks turns them into encodings. The committee's encoding is that of all its
members side by side: KL between such Gaussians is the sum of the members' KL, and as every member's
embedding is centred and of unit length, ρ is the mean of the members' ρ. So a committee is searched
like a single tower. What was measured is in docs/decisions/0006-committee-recipe.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.curve import WINDOW_STEPS
from models.curve_components import CurveComponents
from models.encoders import (
    SMALLEST_VARIANCE,
    Encoded,
    StandardisedEncoder,
    Tower,
    TowerShape,
)
from models.kernel_ridge import KernelRidge
from models.padding import masked_mean


@dataclass(frozen=True)
class CommitteeShape:
    """Everything that fixes the layers of a committee's tower.

    ``dimensions`` is the D of all ``members`` together; ``width`` each member's hidden units;
    ``components`` how many components of a curve are told apart; ``textured`` whether the texture
    of the curve is too: only for retrieving a corpus' own annotations, a drawn curve has none.
    Of the music tower, ``knots`` and ``centres`` are the kernel's, ``feature_size`` is F, and
    ``trunk`` the encoder of the sequence that every member sees beside the kernel's predictions.
    """

    members: int
    width: int
    dimensions: int
    dropout: float
    components: int
    textured: bool
    feature_size: int = 2
    knots: int = 0
    centres: int = 0
    trunk: TowerShape | None = None

    def as_json(self) -> dict[str, object]:
        """Return a dictionary that :func:`tower_shape` reads."""
        return asdict(self)


class Members(nn.Module):
    """The committee: per member one hidden layer and three heads, over inputs that all share."""

    def __init__(self, shape: CommitteeShape, inputs: int, trunk: int = 0) -> None:
        super().__init__()
        self.members = shape.members
        self.size = shape.dimensions // shape.members
        self.dropout = nn.Dropout(shape.dropout)
        self.layer = nn.Linear(inputs, shape.members * shape.width)
        seen = shape.width + inputs + trunk
        self.heads = nn.Parameter(torch.randn(shape.members, seen, 3 * self.size))
        self.bias = nn.Parameter(torch.zeros(shape.members, 1, 3 * self.size))
        with torch.no_grad():
            self.heads.mul_(0.5 / math.sqrt(seen))

    def forward(self, inputs: Tensor, trunk: Tensor | None = None) -> Encoded:
        """(B, K) and perhaps (B, H) → three (B, D)."""
        hidden = self.dropout(functional.silu(self.layer(inputs)))
        shared = inputs if trunk is None else torch.cat([inputs, trunk], dim=1)
        seen = torch.cat(
            [
                hidden.reshape(len(hidden), self.members, -1).transpose(0, 1),
                shared.expand(self.members, *shared.shape),
            ],
            dim=2,
        )
        embedding, mean, spread = torch.baddbmm(self.bias, seen, self.heads).chunk(3, dim=2)
        embedding = functional.normalize(embedding - embedding.mean(dim=2, keepdim=True), dim=2)
        variance = functional.softplus(spread) + SMALLEST_VARIANCE
        return Encoded(*(_side_by_side(part) for part in (embedding, mean, variance)))


def _side_by_side(parts: Tensor) -> Tensor:
    """(M, B, D / M) → (B, D)."""
    return parts.transpose(0, 1).flatten(1)


class MusicCommittee(nn.Module):
    """Features → kernel ridge regression of their mean, and perhaps a trunk → committee."""

    def __init__(self, shape: CommitteeShape) -> None:
        super().__init__()
        self.shape = shape
        predicted = CurveComponents(shape.components, textured=shape.textured).output_size
        self.kernel = KernelRidge(shape.feature_size, shape.knots, shape.centres, predicted)
        self.trunk: StandardisedEncoder | None = None
        trunk_size = 0
        if shape.trunk is not None:
            self.trunk = StandardisedEncoder(shape.trunk)
            trunk_size = self.trunk.encoder.output_size
        self.committee = Members(shape, predicted, trunk_size)

    def forward(
        self, features: Tensor, lengths: Tensor, predicted: Tensor | None = None
    ) -> Encoded:
        """(B, T, F), (B,) → three (B, D).

        ``predicted`` (B, K) stands in for the kernel's predictions: those of training windows are
        made by a kernel that was fitted without them.
        """
        if predicted is None:
            predicted = self.kernel(masked_mean(features, lengths))
        trunk = None if self.trunk is None else self.trunk.hidden(features, lengths)
        encoded: Encoded = self.committee(predicted, trunk)
        return encoded


class EmotionCommittee(nn.Module):
    """Curve of a window → its components → committee."""

    def __init__(self, shape: CommitteeShape) -> None:
        super().__init__()
        self.shape = shape
        self.components = CurveComponents(shape.components, textured=shape.textured)
        self.committee = Members(shape, self.components.output_size)

    def forward(self, curves: Tensor, lengths: Tensor) -> Encoded:
        """(B, 60, 2) → three (B, D); every window of a curve has all its 60 steps.

        Raises:
            ValueError: a curve is shorter than a window.
        """
        if bool((lengths < WINDOW_STEPS).any()):
            raise ValueError(f"a committee reads curves of {WINDOW_STEPS} steps: hold shorter ones")
        encoded: Encoded = self.committee(self.components(curves))
        return encoded


AnyShape: TypeAlias = TowerShape | CommitteeShape
AnyTower: TypeAlias = Tower | MusicCommittee | EmotionCommittee


def build_tower(shape: AnyShape) -> AnyTower:
    """Build a tower with random weights."""
    if isinstance(shape, TowerShape):
        return Tower(shape)
    return MusicCommittee(shape) if shape.centres else EmotionCommittee(shape)


def tower_shape(fields: dict[str, object]) -> AnyShape:
    """Rebuild a tower's shape from a manifest."""
    if "members" not in fields:
        return TowerShape.from_json(fields)
    trunk = fields["trunk"]
    assert trunk is None or isinstance(trunk, dict)
    return CommitteeShape(
        **{**fields, "trunk": None if trunk is None else TowerShape.from_json(trunk)}  # type: ignore[arg-type]
    )
