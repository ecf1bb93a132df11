"""The two towers: an encoder of a sequence and three heads (Takashima et al. 2023, section III).

Every encoder takes a padded batch ``features`` (B, T, F) with the true ``lengths`` (B,) and returns
(B, H); what lies behind an item's length never reaches its output. Every tower turns that into the
embedding E, the mean μ and the variance σ, each (B, D).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from models.attention import AttentionShape, SelfAttention
from models.padding import masked_mean

SMALLEST_VARIANCE = 0.01
"""Added to the variance head's softplus, so that 1/σ stays sound in a float32 search."""

EncoderKind = Literal["mlp", "bigru", "attention"]


class Encoded(NamedTuple):
    """A tower's output for a batch: three (B, D) tensors; ``variance`` is at least 0.01."""

    embedding: Tensor
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class TowerShape:
    """Everything that fixes a tower's layers.

    ``widths`` are the fully connected layers (of the MLP, or behind the sequence's encoder),
    ``recurrent`` the GRU's units each way, ``attention`` the layers of self-attention; what an
    encoder has not is 0 or None. The paper's: MLP 256, 512, 512, 1024, 1024; BiGRU 512 then 512,
    512, 512, 1024, 1024; dropout 0.5; D = 1,024.
    """

    encoder: EncoderKind
    feature_size: int
    widths: tuple[int, ...]
    recurrent: int
    dropout: float
    dimensions: int
    attention: AttentionShape | None = None

    def as_json(self) -> dict[str, object]:
        """Return a dictionary that :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, object]) -> TowerShape:
        """Rebuild a shape from a manifest."""
        widths, attention = fields["widths"], fields.get("attention")
        assert isinstance(widths, Sequence)
        if attention is not None:
            assert isinstance(attention, dict)
            attention = AttentionShape(**attention)
        return cls(**{**fields, "widths": tuple(widths), "attention": attention})  # type: ignore[arg-type]


def _dense_layers(inputs: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Stack FC layers with softplus, and dropout between layers (not behind the last)."""
    layers: list[nn.Module] = []
    for position, width in enumerate(widths):
        layers += [nn.Linear(inputs, width), nn.Softplus()]
        if position < len(widths) - 1:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers)


class MLPEncoder(nn.Module):
    """The mean over an item's true time steps, through FC layers with softplus."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.dense = _dense_layers(shape.feature_size, shape.widths, shape.dropout)
        self.output_size = shape.widths[-1]

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F), (B,) → (B, H)."""
        hidden: Tensor = self.dense(masked_mean(features, lengths))
        return hidden


class BiGRUEncoder(nn.Module):
    """One bidirectional GRU layer, [h_1 backward, h_T forward] concatenated, then FC layers.

    Padded sequences are packed, so that h_T is each item's last true step and the backward pass
    begins there; where nothing is padded, the plain pass gives the same in a third of the time.
    """

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.gru = nn.GRU(shape.feature_size, shape.recurrent, batch_first=True, bidirectional=True)
        self.dense = nn.Sequential(
            nn.Dropout(shape.dropout),
            _dense_layers(2 * shape.recurrent, shape.widths, shape.dropout),
        )
        self.state_size = 2 * shape.recurrent
        self.output_size = shape.widths[-1]

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F), (B,) → (B, H)."""
        _, last = self._run(features, lengths)  # (2, B, recurrent): forward at T, backward at 1
        hidden: Tensor = self.dense(torch.cat([last[1], last[0]], dim=1))
        return hidden

    def states(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return what is known at each step, from both sides: (B, T, F), (B,) → (B, T, 2 · H)."""
        states, _ = self._run(features, lengths)
        if isinstance(states, PackedSequence):
            states, _ = pad_packed_sequence(
                states, batch_first=True, total_length=features.shape[1]
            )
        return states

    def _run(self, features: Tensor, lengths: Tensor) -> tuple[Tensor | PackedSequence, Tensor]:
        sequences: Tensor | PackedSequence = features
        if bool((lengths < features.shape[1]).any()):
            sequences = pack_padded_sequence(
                features, lengths.cpu(), batch_first=True, enforce_sorted=False
            )
        states, last = self.gru(sequences)
        return states, last


class AttentionEncoder(nn.Module):
    """Self-attention over the steps, the mean of their states, then FC layers."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        if shape.attention is None:
            raise ValueError("an attention encoder needs the shape of its attention")
        self.attention = SelfAttention(shape.feature_size, shape.attention, shape.dropout)
        self.dense = nn.Sequential(
            nn.Dropout(shape.dropout),
            _dense_layers(shape.attention.width, shape.widths, shape.dropout),
        )
        self.state_size = shape.attention.width
        self.output_size = shape.widths[-1]

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F), (B,) → (B, H)."""
        hidden: Tensor = self.dense(masked_mean(self.states(features, lengths), lengths))
        return hidden

    def states(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return what is known at each step: (B, T, F), (B,) → (B, T, width)."""
        states: Tensor = self.attention(features, lengths)
        return states


_ENCODERS: dict[EncoderKind, Callable[[TowerShape], MLPEncoder | BiGRUEncoder | AttentionEncoder]]
_ENCODERS = {"mlp": MLPEncoder, "bigru": BiGRUEncoder, "attention": AttentionEncoder}


class StandardisedEncoder(nn.Module):
    """Standardised features → encoder.

    ``feature_mean`` and ``feature_scale`` (F,) are statistics of the training part and travel with
    the weights.
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(shape.feature_size))
        self.register_buffer("feature_scale", torch.ones(shape.feature_size))
        self.encoder = _ENCODERS[shape.encoder](shape)

    def hidden(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F), (B,) → (B, H)."""
        hidden: Tensor = self.encoder(self.standardised(features), lengths)
        return hidden

    def standardised(self, features: Tensor) -> Tensor:
        """Return features (.., F) as the encoder sees them."""
        return (features - self.feature_mean) / self.feature_scale

    @torch.no_grad()
    def standardise_by(self, mean: Tensor, scale: Tensor, *, floor: float = 1e-2) -> None:
        """Take statistics (F,) of the training features; scales below ``floor`` count as it.

        The floor is relative to the median scale: some frontends' channels are almost always zero.
        """
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(scale.clamp_min(floor * float(scale.median().clamp_min(1e-6))))


class Tower(StandardisedEncoder):
    """A standardised encoder and its heads E, μ, σ: the paper's tower."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__(shape)
        self.shape = shape
        hidden = self.encoder.output_size
        self.embedding = nn.Linear(hidden, shape.dimensions)
        self.mean = nn.Linear(hidden, shape.dimensions)
        self.variance = nn.Linear(hidden, shape.dimensions)

    def forward(self, features: Tensor, lengths: Tensor) -> Encoded:
        """(B, T, F), (B,) → three (B, D)."""
        hidden = self.hidden(features, lengths)
        variance = functional.softplus(self.variance(hidden)) + SMALLEST_VARIANCE
        return Encoded(self.embedding(hidden), self.mean(hidden), variance)

    @torch.no_grad()
    def fold_embedding(self, projection: Tensor, centre: Tensor) -> None:
        """Fold a linear map into the embedding head: E becomes (E - centre) @ projection.

        ``projection`` (D, D) and ``centre`` (D,); this is how CCA's W ends up in the head, so that
        E = Wᵀ FC(f) (section III-B).
        """
        weight, bias = self.embedding.weight, self.embedding.bias
        weight.copy_(projection.T @ weight)
        bias.copy_((bias - centre) @ projection)
