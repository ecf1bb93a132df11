"""Stacked networks: each run computes what a plain network of torch does, alone or in company."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.attention import AttentionShape
from models.encoders import Tower, TowerShape
from training.stacked.gru import StackedBiGRU
from training.stacked.layers import StackedDense, drop, stacked_generators
from training.stacked.recurrence import Workspace, recur
from training.stacked.towers import StackedTower

SHAPES = {
    "mlp": TowerShape("mlp", 5, (8, 12), 0, 0.5, 6),
    "bigru": TowerShape("bigru", 5, (8, 12), 7, 0.5, 6),
}


def plain_grus(runs: int, features: int, hidden: int, seed: int = 0) -> list[nn.GRU]:
    torch.manual_seed(seed)
    return [
        nn.GRU(features, hidden, batch_first=True, bidirectional=True).double() for _ in range(runs)
    ]


def plain_towers(kind: str, runs: int = 3, seed: int = 0) -> list[Tower]:
    torch.manual_seed(seed)
    return [Tower(SHAPES[kind]).eval() for _ in range(runs)]


def ragged(
    runs: int, items: int, longest: int, features: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw sequences of random lengths, NaN behind them; at least one of each run is whole."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (runs, items), generator=generator)
    lengths[:, 0] = longest
    sequences = torch.randn(runs, items, longest, features, generator=generator)
    behind = torch.arange(longest) >= lengths[..., None]
    return sequences.masked_fill(behind[..., None], torch.nan), lengths


class TestGRU:
    @settings(max_examples=20, deadline=None)
    @given(
        runs=st.integers(1, 3),
        items=st.integers(1, 4),
        longest=st.integers(1, 6),
        features=st.integers(1, 3),
        hidden=st.integers(1, 4),
        seed=st.integers(0, 1_000),
    )
    def test_is_torchs_on_every_true_step(
        self, runs: int, items: int, longest: int, features: int, hidden: int, seed: int
    ) -> None:
        plain = plain_grus(runs, features, hidden, seed)
        stacked = StackedBiGRU(plain)
        sequences, lengths = ragged(runs, items, longest, features, seed)
        with torch.no_grad():
            last = stacked(sequences.double(), lengths)
            every = stacked.states(sequences.double(), lengths)
            for run, gru in enumerate(plain):
                for item in range(items):
                    steps = int(lengths[run, item])
                    alone, ends = gru(sequences[run, item : item + 1, :steps].double())
                    found = torch.cat([ends[1, 0], ends[0, 0]])
                    assert (last[run, item] - found).abs().max() < 1e-12
                    assert (every[run, item, :steps] - alone[0]).abs().max() < 1e-12

    @pytest.mark.parametrize("of_states", [False, True])
    def test_has_torchs_gradient(self, of_states: bool) -> None:
        plain = plain_grus(2, 3, 4)
        stacked = StackedBiGRU(plain)
        generator = torch.Generator().manual_seed(1)
        sequences = torch.randn(2, 5, 6, 3, generator=generator, dtype=torch.double)
        lengths = torch.full((2, 5), 6)
        if of_states:
            found = stacked.states(sequences, lengths).square().sum()
            wanted = sum(gru(x)[0].square().sum() for gru, x in zip(plain, sequences, strict=True))
        else:
            found = stacked(sequences, lengths).square().sum()
            wanted = sum(gru(x)[1].square().sum() for gru, x in zip(plain, sequences, strict=True))
        (found + wanted).backward()
        stacks = {
            "weight_ih": stacked.of_input,
            "weight_hh": stacked.of_state,
            "bias_ih": stacked.input_bias,
            "bias_hh": stacked.state_bias,
        }
        for name, stack in stacks.items():
            for run, gru in enumerate(plain):
                for side, row in (("", run), ("_reverse", 2 + run)):
                    own = gru.get_parameter(f"{name}_l0{side}").grad
                    assert stack.grad is not None
                    assert own is not None
                    assert (stack.grad[row] - own).abs().max() < 1e-10

    def test_gradient_of_ragged_sequences_is_that_of_finite_differences(self) -> None:
        sequences, lengths = ragged(2, 3, 4, 2)
        inputs = sequences.double().nan_to_num(7.0).transpose(1, 2)
        padding = torch.arange(4)[:, None] >= lengths[:, None]
        weights = torch.randn(2, 3 + 2 + 1, 12, dtype=torch.double, requires_grad=True)
        direction = torch.randn_like(weights)
        for every_step in (False, True):

            def loss(weights: Tensor, every_step: bool = every_step) -> Tensor:
                states = recur(inputs, weights, padding, Workspace(), every_step=every_step)
                return states.sin().sum()

            (gradient,) = torch.autograd.grad(loss(weights), [weights])
            with torch.no_grad():
                ahead, behind = loss(weights + 1e-6 * direction), loss(weights - 1e-6 * direction)
            slope = (ahead - behind) / 2e-6
            assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-7)

    def test_passes_under_way_at_once_share_no_memory(self) -> None:
        plain = plain_grus(1, 2, 3)
        stacked = StackedBiGRU(plain)
        sequences, lengths = torch.randn(1, 4, 5, 2).double(), torch.full((1, 4), 5)
        alone = stacked(sequences, lengths).sum()
        (wanted,) = torch.autograd.grad(alone, [stacked.of_state])
        first, second = stacked(sequences, lengths).sum(), stacked(3 * sequences, lengths).sum()
        (found,) = torch.autograd.grad(first, [stacked.of_state])
        assert torch.equal(found, wanted)
        second.backward()
        with pytest.raises(RuntimeError, match="backward"):
            first.backward()


class TestTower:
    @pytest.mark.parametrize("kind", SHAPES)
    def test_is_the_plain_tower_of_each_run(self, kind: str) -> None:
        plain = plain_towers(kind)
        stacked = StackedTower(plain)
        sequences, lengths = ragged(3, 9, 6, 5)
        inputs = sequences
        if kind == "mlp":
            inputs = (sequences.nansum(dim=2) / lengths[..., None])[:, :, None]
        with torch.no_grad():
            found = stacked(inputs, lengths)
            for run, tower in enumerate(plain):
                wanted = tower(sequences[run], lengths[run])
                for one, other in zip(found, wanted, strict=True):
                    assert (one[run] - other).abs().max() < 1e-5

    @pytest.mark.parametrize("kind", SHAPES)
    def test_a_run_is_the_same_in_any_company(self, kind: str) -> None:
        plain = plain_towers(kind)
        sequences, lengths = torch.randn(3, 9, 6, 5), torch.full((3, 9), 6)
        together, alone = StackedTower(plain), StackedTower(plain[1:2])
        seeds, device = [5, 6, 7], torch.device("cpu")
        found = together(sequences, lengths, stacked_generators(seeds, device))
        single = alone(sequences[1:2], lengths[1:2], stacked_generators(seeds[1:2], device))
        for one, other in zip(found, single, strict=True):
            assert (one[1] - other[0]).abs().max() < 1e-6
        sum(part.sum() for part in found).backward()
        sum(part.sum() for part in single).backward()
        mine, theirs = together.get_parameter("mean.weight"), alone.get_parameter("mean.weight")
        assert mine.grad is not None
        assert theirs.grad is not None
        assert (mine.grad[1] - theirs.grad[0]).abs().max() < 1e-5

    def test_what_cannot_be_stacked_is_refused(self) -> None:
        shape = replace(SHAPES["mlp"], encoder="attention", attention=AttentionShape(4, 2, 1))
        with pytest.raises(ValueError, match="attention"):
            StackedTower([Tower(shape)])


class TestDropout:
    def test_zeroes_the_asked_share_and_keeps_the_mean(self) -> None:
        generators = stacked_generators([1, 2], torch.device("cpu"))
        dropped = drop(torch.ones(2, 400, 50), 0.3, generators)
        shares = (dropped == 0).float().mean(dim=(1, 2))
        assert ((shares - 0.3).abs() < 0.02).all()
        assert dropped.max() == pytest.approx(1 / 0.7)
        assert not torch.equal(dropped[0], dropped[1])

    def test_none_is_drawn_without_generators(self) -> None:
        ones = torch.ones(2, 4, 5)
        assert drop(ones, 0.5, None) is ones

    def test_lies_between_layers_only(self) -> None:
        layers = [[nn.Linear(4, 4), nn.Linear(4, 6)]]
        dense = StackedDense(layers, 0.5)
        rows = torch.randn(1, 64, 4)
        seen = dense(rows, stacked_generators([0], torch.device("cpu")))
        assert (seen > 0).all()  # softplus of the last layer, nothing dropped behind it
        assert not torch.equal(seen, dense(rows, None))
