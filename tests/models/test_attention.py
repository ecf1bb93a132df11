"""Self-attention against plain loops in float64 and torch's own layer; padding is never heard."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from models.attention import AttentionShape, SelfAttention, sinusoidal_positions
from models.encoders import AttentionEncoder, TowerShape

SHAPE = AttentionShape(width=12, heads=3, layers=2)
TOWER = TowerShape("attention", 5, (8, 6), 0, 0.5, 4, attention=SHAPE)

Floats64 = NDArray[np.float64]


def stack(seed: int = 0, shape: AttentionShape = SHAPE) -> SelfAttention:
    torch.manual_seed(seed)
    built = SelfAttention(5, shape, 0.5).eval()
    for parameter in built.parameters():  # biases and norms that are not 0 and 1 are tested too
        nn.init.normal_(parameter, std=0.5)
    return built


def padded(lengths: list[int], longest: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.full((len(lengths), longest, 5), math.nan)
    for row, length in enumerate(lengths):
        features[row, :length] = torch.randn(length, 5, generator=generator)
    return features, torch.tensor(lengths)


def plain_attention(model: SelfAttention, sequence: Floats64) -> Floats64:
    """The same from the formulas, one query and one head at a time: (T, F) → (T, W)."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def linear(name: str, x: Floats64) -> Floats64:
        return np.asarray(weights[f"{name}.weight"] @ x + weights[f"{name}.bias"])

    def norm(name: str, x: Floats64) -> Floats64:
        spread = math.sqrt(float(np.mean((x - x.mean()) ** 2)) + 1e-5)
        return np.asarray(
            (x - x.mean()) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        )

    def gelu(x: float) -> float:
        return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))

    width, heads = SHAPE.width, SHAPE.heads
    size = width // heads
    states = []
    for step, patch in enumerate(sequence):
        angles = [step / 10_000 ** (i / (width // 2)) for i in range(width // 2)]
        position = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        states.append(linear("projection", patch) + np.array(position))
    for number in range(SHAPE.layers):
        layer = f"layers.{number}"
        projected = [
            linear(f"{layer}.queries_keys_values", norm(f"{layer}.attention_norm", x))
            for x in states
        ]
        after = []
        for x, mine in zip(states, projected, strict=True):
            merged = []
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                query = mine[:width][part]
                keys = [other[width : 2 * width][part] for other in projected]
                values = [other[2 * width :][part] for other in projected]
                shares = np.array([math.exp(query @ key / math.sqrt(size)) for key in keys])
                shares /= shares.sum()
                merged.append(sum(s * v for s, v in zip(shares, values, strict=True)))
            x = x + linear(f"{layer}.merge", np.concatenate(merged))
            inner = linear(f"{layer}.feed_forward.1", norm(f"{layer}.feed_forward.0", x))
            inner = np.array([gelu(float(value)) for value in inner])
            after.append(x + linear(f"{layer}.feed_forward.4", inner))
        states = after
    return np.stack([norm("norm", x) for x in states])


@settings(max_examples=20)
@given(steps=st.integers(1, 9), seed=st.integers(0, 1_000))
def test_equals_the_formulas_step_by_step(steps: int, seed: int) -> None:
    model = stack(seed).double()
    sequence = np.random.default_rng(seed).normal(size=(steps, 5))
    with torch.no_grad():
        found = model(torch.from_numpy(sequence)[None], torch.tensor([steps]))[0].numpy()
    np.testing.assert_allclose(found, plain_attention(model, sequence), rtol=0, atol=1e-9)


def test_a_layer_is_torchs_pre_norm_transformer_layer() -> None:
    """An independent implementation, given the same weights and the same padding."""
    model = stack()
    layer = model.layers[0]
    peer = nn.TransformerEncoderLayer(
        12, 3, 24, activation="gelu", batch_first=True, norm_first=True, dropout=0.0
    )
    mine = layer.state_dict()
    peer.load_state_dict(
        {
            "self_attn.in_proj_weight": mine["queries_keys_values.weight"],
            "self_attn.in_proj_bias": mine["queries_keys_values.bias"],
            "self_attn.out_proj.weight": mine["merge.weight"],
            "self_attn.out_proj.bias": mine["merge.bias"],
            "linear1.weight": mine["feed_forward.1.weight"],
            "linear1.bias": mine["feed_forward.1.bias"],
            "linear2.weight": mine["feed_forward.4.weight"],
            "linear2.bias": mine["feed_forward.4.bias"],
            "norm1.weight": mine["attention_norm.weight"],
            "norm1.bias": mine["attention_norm.bias"],
            "norm2.weight": mine["feed_forward.0.weight"],
            "norm2.bias": mine["feed_forward.0.bias"],
        }
    )
    states = torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(1))
    inside = torch.arange(7) < torch.tensor([7, 2, 5])[:, None]
    found = layer(states, inside)
    expected = peer(states, src_key_padding_mask=~inside)
    assert (found - expected)[inside].abs().max() < 1e-5


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 31), min_size=1, max_size=5),
    padding=st.integers(0, 4),
    seed=st.integers(0, 1_000),
)
def test_alone_as_in_company(lengths: list[int], padding: int, seed: int) -> None:
    torch.manual_seed(seed)
    encoder = AttentionEncoder(TOWER).eval()
    features, true = padded(lengths, max(lengths) + padding, seed)
    with torch.no_grad():
        together = encoder(features, true)
        for row, length in enumerate(lengths):
            alone = encoder(features[row : row + 1, :length], true[row : row + 1])
            assert (alone[0] - together[row]).abs().max() < 1e-6


def test_gradients_stay_finite_beside_padding_that_is_not() -> None:
    encoder = AttentionEncoder(TOWER)
    encoder(*padded([3, 7], 9, 0)).sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_hears_the_order_of_steps() -> None:
    torch.manual_seed(0)
    encoder = AttentionEncoder(TOWER).eval()
    features, lengths = padded([9], 9, 0)
    with torch.no_grad():
        difference = encoder(features, lengths) - encoder(features.flip(1), lengths)
    assert difference.abs().max() > 1e-4


def test_every_step_hears_every_other() -> None:
    model = stack()
    features, lengths = padded([6], 6, 0)
    features.requires_grad_()
    for step in range(6):
        (gradient,) = torch.autograd.grad(
            model(features, lengths)[0, step].square().sum(), features
        )
        assert (gradient[0].abs().sum(dim=1) > 1e-6).all()


def test_positions_are_the_papers() -> None:
    table = sinusoidal_positions(40, torch.zeros(1, 8, dtype=torch.float64))
    assert table.shape == (40, 8)
    for step in (0, 1, 39):
        for column in range(4):
            angle = step / 10_000 ** (2 * column / 8)
            assert table[step, column] == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[step, 4 + column] == pytest.approx(math.cos(angle), abs=1e-12)


@pytest.mark.parametrize("shape", [AttentionShape(10, 4, 1), AttentionShape(9, 3, 1)])
def test_a_width_that_heads_cannot_share_is_refused(shape: AttentionShape) -> None:
    with pytest.raises(ValueError, match="not an even multiple"):
        SelfAttention(5, shape, 0.0)


def test_an_attention_tower_without_its_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the shape of its attention"):
        AttentionEncoder(TowerShape("attention", 5, (8,), 0, 0.5, 4))
