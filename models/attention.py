"""Self-attention over a padded sequence: the encoder that the paper leaves to future work.

Layers as in Vaswani et al. 2017, "Attention Is All You Need", sections 3.2 to 3.5, with the
normalisation before each part rather than behind it (Xiong et al. 2020, "On Layer Normalization in
the Transformer Architecture"), which trains without a long warm-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.padding import true_steps

_WAVELENGTH_BASE = 10_000.0
_FEED_FORWARD_FACTOR = 2


@dataclass(frozen=True)
class AttentionShape:
    """Units of a step's state, an even multiple of ``heads``, and how many layers there are."""

    width: int
    heads: int
    layers: int


class SelfAttention(nn.Module):
    """A projection of each step, sinusoidal positions, pre-norm layers, and a last normalisation.

    What lies behind an item's length is zeroed first and never attended to.

    Raises:
        ValueError: the heads do not share the width evenly, or the width is odd.
    """

    def __init__(self, inputs: int, shape: AttentionShape, dropout: float) -> None:
        super().__init__()
        if shape.width % shape.heads or shape.width % 2:
            raise ValueError(
                f"a width of {shape.width} is not an even multiple of {shape.heads} heads"
            )
        self.projection = nn.Linear(inputs, shape.width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            _Layer(shape.width, shape.heads, dropout) for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(shape.width)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F), (B,) → (B, T, width); steps behind an item's length mean nothing."""
        inside = true_steps(lengths, features.shape[1])
        states = self.projection(features.where(inside.unsqueeze(-1), 0.0))
        states = self.dropout(states + sinusoidal_positions(states.shape[1], states))
        for layer in self.layers:
            states = layer(states, inside)
        normal: Tensor = self.norm(states)
        return normal


def sinusoidal_positions(steps: int, like: Tensor) -> Tensor:
    """Return (steps, W) sines and cosines of the position, W the last size of ``like``.

    Vaswani et al. 2017, section 3.5; sines in the first half of the columns, cosines in the second.
    """
    half = like.shape[-1] // 2
    exponents = torch.arange(half, dtype=like.dtype, device=like.device) / half
    positions = torch.arange(steps, dtype=like.dtype, device=like.device)
    angles = positions[:, None] * torch.exp(-math.log(_WAVELENGTH_BASE) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class _Layer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, _FEED_FORWARD_FACTOR * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(_FEED_FORWARD_FACTOR * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """(B, T, W), (B, T) → (B, T, W)."""
        states = states + self.dropout(self._attend(self.attention_norm(states), inside))
        out: Tensor = states + self.feed_forward(states)
        return out

    def _attend(self, states: Tensor, inside: Tensor) -> Tensor:
        """Scaled dot-product attention of every head.

        It is written out because torch's fused kernels choose by device and mode: on a GPU their
        gradients need not repeat to the bit, and at 31 steps they gain nothing.
        """
        projected = self.queries_keys_values(states).unflatten(2, (3, self.heads, -1))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)  # each (B, heads, T, W / heads)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])
        scores = scores.masked_fill(~inside[:, None, None, :], -torch.inf)
        heard = self.dropout(scores.softmax(dim=-1)) @ values
        merged: Tensor = self.merge(heard.transpose(1, 2).flatten(2))
        return merged
