"""What an emotion window's curve is, in few numbers: its principal components, and its texture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.curve import WINDOW_STEPS

TEXTURE_SIZE = 10
_OPENING_STEPS = 10


class CurveComponents(nn.Module):
    """Linear components of a window's curve: (B, 60, 2) → (B, K), or K + 10 with its texture.

    ``centre`` (120,) and ``basis`` (120, K) are those of the training windows, with unit variance
    on each component; ``relevance`` is how well music predicts each of the numbers, which scales
    it: what cannot be heard shall not be looked at.
    """

    centre: Tensor
    basis: Tensor
    texture_centre: Tensor
    texture_scale: Tensor
    relevance: Tensor

    def __init__(self, components: int, *, textured: bool) -> None:
        super().__init__()
        self.textured = textured
        texture_size = TEXTURE_SIZE if textured else 0
        self.output_size = components + texture_size
        self.register_buffer("centre", torch.zeros(2 * WINDOW_STEPS))
        self.register_buffer("basis", torch.zeros(2 * WINDOW_STEPS, components))
        self.register_buffer("texture_centre", torch.zeros(texture_size))
        self.register_buffer("texture_scale", torch.ones(texture_size))
        self.register_buffer("relevance", torch.ones(self.output_size))

    def forward(self, curves: Tensor) -> Tensor:
        """(B, 60, 2) → (B, K) or (B, K + 10)."""
        described = (curves.flatten(1) - self.centre) @ self.basis
        if self.textured:
            standard = (texture(curves) - self.texture_centre) / self.texture_scale
            described = torch.cat([described, standard], dim=1)
        return described * self.relevance


def texture(curves: Tensor) -> Tensor:
    """How a curve was drawn rather than what it says: (B, T, 2) → (B, 10).

    For each axis: the logarithms of the deviation of its first and second differences, of its
    largest step and of the deviation of its first ten differences, and the share of steps at rest.
    """
    steps = curves.diff(dim=1)
    bends = steps.diff(dim=1)
    return torch.cat(
        [
            (_deviation(steps) + 1e-4).log(),
            (_deviation(bends) + 1e-4).log(),
            (steps.abs().amax(dim=1) + 1e-3).log(),
            (steps.abs() < 1e-6).to(curves.dtype).mean(dim=1),
            (_deviation(steps[:, :_OPENING_STEPS]) + 1e-4).log(),
        ],
        dim=1,
    )


def _deviation(values: Tensor) -> Tensor:
    return values.std(dim=1, correction=0)
