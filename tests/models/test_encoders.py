"""The towers: padding is never heard, and every part does what the paper says."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models.attention import AttentionShape
from models.encoders import (
    SMALLEST_VARIANCE,
    BiGRUEncoder,
    EncoderKind,
    MLPEncoder,
    Tower,
    TowerShape,
)

ATTENTION = AttentionShape(width=8, heads=2, layers=2)

SHAPES: dict[str, TowerShape] = {
    "mlp": TowerShape("mlp", 5, (8, 12), 0, 0.5, 6),
    "bigru": TowerShape("bigru", 5, (8, 12), 7, 0.5, 6),
    "attention": TowerShape("attention", 5, (8, 12), 0, 0.5, 6, attention=ATTENTION),
}

PAPER: dict[EncoderKind, TowerShape] = {
    "mlp": TowerShape("mlp", 128, (256, 512, 512, 1024, 1024), 0, 0.5, 1024),
    "bigru": TowerShape("bigru", 128, (512, 512, 512, 1024, 1024), 512, 0.5, 1024),
}

kinds = pytest.mark.parametrize("kind", SHAPES)


def tower(kind: str, seed: int = 0) -> Tower:
    torch.manual_seed(seed)
    built = Tower(SHAPES[kind]).eval()
    built.standardise_by(torch.linspace(-1, 1, 5), torch.linspace(0.5, 2, 5))
    return built


def batch(lengths: list[int], longest: int, fill: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw sequences of these lengths, padded with ``fill``."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.full((len(lengths), longest, 5), fill)
    for row, length in enumerate(lengths):
        features[row, :length] = torch.randn(length, 5, generator=generator)
    return features, torch.tensor(lengths)


@kinds
class TestPadding:
    @pytest.mark.parametrize("fill", [1e6, -3.0, math.nan, math.inf])
    def test_its_content_is_never_heard(self, kind: str, fill: float) -> None:
        model, lengths = tower(kind), [4, 9, 1, 12]
        with torch.no_grad():
            clean = model(*batch(lengths, 14, 0.0))
            dirty = model(*batch(lengths, 14, fill))
        for one, other in zip(clean, dirty, strict=True):
            assert torch.equal(one, other)
            assert torch.isfinite(one).all()

    @settings(max_examples=25)
    @given(
        lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6),
        padding=st.integers(0, 5),
        seed=st.integers(0, 1_000),
    )
    def test_alone_as_in_company(
        self, kind: str, lengths: list[int], padding: int, seed: int
    ) -> None:
        model = tower(kind)
        features, true = batch(lengths, max(lengths) + padding, 7.0, seed)
        with torch.no_grad():
            together = model(features, true)
            for row, length in enumerate(lengths):
                alone = model(features[row : row + 1, :length], true[row : row + 1])
                for one, other in zip(alone, together, strict=True):
                    assert (one[0] - other[row]).abs().max() < 1e-5

    def test_gradients_do_not_reach_it(self, kind: str) -> None:
        features, lengths = batch([3, 8], 10, 1.0)
        features.requires_grad_()
        sum(part.sum() for part in tower(kind)(features, lengths)).backward()
        assert features.grad is not None
        assert (features.grad[0, 3:] == 0).all()
        assert (features.grad[1, 8:] == 0).all()
        assert (features.grad[1, :8].abs().sum(dim=1) > 0).all()

    def test_order_in_the_batch_does_not_matter(self, kind: str) -> None:
        features, lengths = batch([2, 11, 5, 11, 7], 11, 0.0)
        order = torch.tensor([3, 0, 4, 2, 1])
        with torch.no_grad():
            straight = tower(kind)(features, lengths)
            shuffled = tower(kind)(features[order], lengths[order])
        for one, other in zip(straight, shuffled, strict=True):
            assert (one[order] - other).abs().max() < 1e-5


class TestMLP:
    def test_is_the_dense_layers_of_the_mean(self) -> None:
        torch.manual_seed(1)
        encoder = MLPEncoder(SHAPES["mlp"]).eval()
        features, lengths = batch([3, 6, 1], 6, 99.0)
        with torch.no_grad():
            found = encoder(features, lengths)
            for row, length in enumerate(lengths.tolist()):
                mean = sum(features[row, step] for step in range(length)) / length
                hidden = torch.as_tensor(mean)
                for layer in encoder.dense:
                    if isinstance(layer, nn.Linear):
                        hidden = functional.softplus(layer.weight @ hidden + layer.bias)
                assert (hidden - found[row]).abs().max() < 1e-5

    def test_does_not_hear_the_order_of_steps(self) -> None:
        features, lengths = batch([9], 9, 0.0)
        model = tower("mlp")
        with torch.no_grad():
            forwards, backwards = model(features, lengths), model(features.flip(1), lengths)
        assert (forwards.embedding - backwards.embedding).abs().max() < 1e-5


class TestBiGRU:
    def test_takes_the_last_true_step_and_the_first(self) -> None:
        """[h_1 of the backward pass, h_T of the forward pass], from the unpadded sequence."""
        torch.manual_seed(2)
        encoder = BiGRUEncoder(SHAPES["bigru"]).eval()
        features, lengths = batch([4, 10, 1], 10, 5.0)
        with torch.no_grad():
            found = encoder(features, lengths)
            for row, length in enumerate(lengths.tolist()):
                states, _ = encoder.gru(features[row : row + 1, :length])
                forward_last, backward_first = states[0, -1, :7], states[0, 0, 7:]
                expected = encoder.dense(torch.cat([backward_first, forward_last])[None])
                assert (expected - found[row]).abs().max() < 1e-5

    def test_states_are_those_of_the_unpadded_sequence(self) -> None:
        torch.manual_seed(2)
        encoder = BiGRUEncoder(SHAPES["bigru"]).eval()
        features, lengths = batch([4, 10, 1], 12, 5.0)
        with torch.no_grad():
            found = encoder.states(features, lengths)
            assert found.shape == (3, 12, encoder.state_size)
            for row, length in enumerate(lengths.tolist()):
                states, _ = encoder.gru(features[row : row + 1, :length])
                assert (states[0] - found[row, :length]).abs().max() < 1e-6

    def test_the_gru_is_the_one_of_the_textbook(self) -> None:
        """Step by step with the gates written out, in float64."""
        torch.manual_seed(3)
        encoder = BiGRUEncoder(SHAPES["bigru"]).double().eval()
        features, lengths = batch([6], 6, 0.0)
        features = features.double()

        def run(steps: list[Tensor], suffix: str) -> Tensor:
            w_in, w_hidden, b_in, b_hidden = (
                getattr(encoder.gru, f"{name}_l0{suffix}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            state = torch.zeros(7, dtype=torch.float64)
            for step in steps:
                reset_in, update_in, new_in = (w_in @ step + b_in).split(7)
                reset, update, new = (w_hidden @ state + b_hidden).split(7)
                keep = torch.sigmoid(update_in + update)
                candidate = torch.tanh(new_in + torch.sigmoid(reset_in + reset) * new)
                state = (1 - keep) * candidate + keep * state
            return state

        steps = list(features[0])
        with torch.no_grad():
            both = torch.cat([run(steps[::-1], "_reverse"), run(steps, "")])
            expected = encoder.dense(both[None])
            found = encoder(features, lengths)
        assert (expected - found).abs().max() < 1e-12

    def test_packed_and_plain_paths_agree(self) -> None:
        encoder = BiGRUEncoder(SHAPES["bigru"]).eval()
        features, lengths = batch([8, 8, 8], 8, 0.0)
        padded = torch.cat([features, torch.full((3, 1, 5), 9.0)], dim=1)
        with torch.no_grad():
            difference = encoder(features, lengths) - encoder(padded, lengths)
        assert difference.abs().max() < 1e-6

    def test_hears_the_order_of_steps(self) -> None:
        features, lengths = batch([9], 9, 0.0)
        model = tower("bigru")
        with torch.no_grad():
            forwards, backwards = model(features, lengths), model(features.flip(1), lengths)
        assert (forwards.embedding - backwards.embedding).abs().max() > 1e-3


@kinds
class TestHeads:
    def test_shapes_and_formulas(self, kind: str) -> None:
        model = tower(kind)
        features, lengths = batch([3, 6], 6, 0.0)
        with torch.no_grad():
            encoded = model(features, lengths)
            standard = (features - torch.linspace(-1, 1, 5)) / torch.linspace(0.5, 2, 5)
            hidden = model.encoder(standard, lengths)
            spread = hidden @ model.variance.weight.T + model.variance.bias
            expected = {
                "embedding": hidden @ model.embedding.weight.T + model.embedding.bias,
                "mean": hidden @ model.mean.weight.T + model.mean.bias,
                "variance": torch.log1p(torch.exp(spread)) + 0.01,
            }
        for name, values in expected.items():
            assert getattr(encoded, name).shape == (2, 6)
            assert (getattr(encoded, name) - values).abs().max() < 1e-5

    def test_variance_has_a_floor(self, kind: str) -> None:
        model = tower(kind)
        with torch.no_grad():
            model.variance.bias.fill_(-1e4)
            encoded = model(*batch([5], 5, 0.0))
        assert SMALLEST_VARIANCE == 0.01
        assert encoded.variance.min() >= np.float32(0.01)
        assert encoded.variance.max() < 0.0101

    def test_dropout_only_in_training(self, kind: str) -> None:
        model, (features, lengths) = tower(kind), batch([5, 7], 7, 0.0)
        with torch.no_grad():
            assert torch.equal(
                model(features, lengths).embedding, model(features, lengths).embedding
            )
            model.train()
            assert not torch.equal(
                model(features, lengths).embedding, model(features, lengths).embedding
            )

    def test_folding_equals_mapping(self, kind: str) -> None:
        model, data = tower(kind), batch([5, 7, 2], 7, 0.0)
        projection, centre = torch.randn(6, 6), torch.randn(6)
        with torch.no_grad():
            before = model(*data)
            model.fold_embedding(projection, centre)
            after = model(*data)
        assert (after.embedding - (before.embedding - centre) @ projection).abs().max() < 1e-4
        assert torch.equal(after.mean, before.mean)
        assert torch.equal(after.variance, before.variance)


class TestStandardisation:
    def test_brings_features_to_mean_0_and_deviation_1(self) -> None:
        model = tower("mlp")
        features = torch.randn(500, 5) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]) + 7
        model.standardise_by(features.mean(dim=0), features.std(dim=0))
        standard = (features - model.feature_mean) / model.feature_scale
        assert standard.mean(dim=0).abs().max() < 1e-4
        assert (standard.std(dim=0) - 1).abs().max() < 1e-4

    def test_dead_channels_count_as_the_floor(self) -> None:
        model = tower("mlp")
        model.standardise_by(torch.zeros(5), torch.tensor([0.0, 1e-9, 2.0, 4.0, 8.0]))
        assert model.feature_scale.tolist() == pytest.approx([0.02, 0.02, 2.0, 4.0, 8.0])

    def test_where_most_channels_are_dead_nothing_is_divided_by_zero(self) -> None:
        model = tower("mlp")
        model.standardise_by(torch.zeros(5), torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]))
        assert model.feature_scale.min() > 0
        with torch.no_grad():
            encoded = model(*batch([5], 5, 0.0))
        assert torch.isfinite(encoded.embedding).all()

    def test_travels_with_the_weights(self) -> None:
        model, again = tower("bigru"), Tower(SHAPES["bigru"]).eval()
        again.load_state_dict(model.state_dict())
        data = batch([4], 4, 0.0)
        with torch.no_grad():
            for one, other in zip(model(*data), again(*data), strict=True):
                assert torch.equal(one, other)


class TestShapes:
    @pytest.mark.parametrize("shape", [*SHAPES.values(), *PAPER.values()])
    def test_round_trip_through_json(self, shape: TowerShape) -> None:
        again = TowerShape.from_json(json.loads(json.dumps(shape.as_json())))
        assert again == shape
        assert isinstance(again.widths, tuple)

    def test_a_manifest_from_before_attention_still_fits(self) -> None:
        fields = SHAPES["bigru"].as_json()
        del fields["attention"]
        assert TowerShape.from_json(fields) == SHAPES["bigru"]

    @pytest.mark.parametrize("kind", PAPER)
    def test_the_papers_layers(self, kind: EncoderKind) -> None:
        with torch.device("meta"):
            model = Tower(PAPER[kind])
        dense = [layer for layer in model.encoder.modules() if isinstance(layer, nn.Linear)]
        sizes = [(layer.in_features, layer.out_features) for layer in dense]
        dropouts = [layer.p for layer in model.encoder.modules() if isinstance(layer, nn.Dropout)]
        softplus = [layer for layer in model.encoder.modules() if isinstance(layer, nn.Softplus)]
        assert len(softplus) == 5
        if kind == "mlp":
            assert sizes == [(128, 256), (256, 512), (512, 512), (512, 1024), (1024, 1024)]
            assert dropouts == [0.5] * 4
        else:
            assert sizes == [(1024, 512), (512, 512), (512, 512), (512, 1024), (1024, 1024)]
            assert dropouts == [0.5] * 5
            assert isinstance(model.encoder, BiGRUEncoder)
            gru = model.encoder.gru
            assert (gru.input_size, gru.hidden_size, gru.num_layers) == (128, 512, 1)
            assert gru.bidirectional
        for head in (model.embedding, model.mean, model.variance):
            assert (head.in_features, head.out_features) == (1024, 1024)
