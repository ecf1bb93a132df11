"""RegMLP and RegBiGRU: they predict what can be predicted, and rank by plain distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.baselines import (
    RanksBy,
    Reads,
    Regression,
    cosines,
    features_at_curve_steps,
    negative_distances,
)
from training.metrics import chance_metrics, retrieval_metrics
from training.stacked.loop import Steps, train_together
from training.stacked.sequences import StackedSequences

CPU = torch.device("cpu")


@given(
    pieces=st.integers(1, 5),
    steps=st.integers(1, 6),
    size=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_distances_are_mean_squared_errors_over_common_steps(
    pieces: int, steps: int, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    predicted, items = rng.normal(size=(2, pieces, steps, size))
    lengths = rng.integers(1, steps + 1, pieces)
    found = negative_distances(predicted, items, lengths)
    for query in range(pieces):
        for item in range(pieces):
            both = min(lengths[query], lengths[item])
            error = np.mean((predicted[query, :both] - items[item, :both]) ** 2)
            assert found[query, item] == pytest.approx(-error, abs=1e-10)


def test_cosines_are_those_of_vectors() -> None:
    rng = np.random.default_rng(0)
    predicted, items = rng.normal(size=(2, 4, 3))
    items[2] = 0
    found = cosines(predicted, items)
    for query, item in np.ndindex(4, 4):
        one, other = predicted[query], items[item]
        lengths = np.sqrt((one**2).sum() * (other**2).sum())
        assert found[query, item] == pytest.approx(one @ other / lengths if lengths else 0.0)


def test_each_step_gets_the_patch_that_sounds_in_its_middle() -> None:
    features = np.arange(1, 41, dtype=np.float32).reshape(1, 40, 1).repeat(2, axis=0)
    taken = features_at_curve_steps(
        features, np.array([40, 3]), np.array([5, 4]), np.array([0.0, 1.0])
    )
    # middles at 0.25, 0.75, 1.25, .. s; patches change at 0.96, 1.92, 2.88 s
    assert taken[0, :, 0].tolist() == [1, 1, 2, 2, 3]
    assert taken[1, :, 0].tolist() == [2, 2, 3, 3, 0]  # a second later; the third patch is held


Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def _sequences(noise: float, seed: int = 0) -> Arrays:
    """Draw smooth curves of 4 to 8 steps and features that are a noisy linear image of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 9, 80)
    curves = rng.normal(size=(80, 1, 2)) + 0.3 * rng.normal(size=(80, 8, 2)).cumsum(axis=1)
    features = curves @ rng.normal(size=(2, 5)) + noise * rng.normal(size=(80, 8, 5))
    inside = (np.arange(8) < lengths[:, None])[..., None]
    return (
        (features * inside).astype(np.float32),
        (curves * inside).astype(np.float32),
        lengths,
    )


def _means(values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    means: NDArray[np.float32] = values.sum(axis=1, keepdims=True) / lengths[:, None, None]
    return means.astype(np.float32)


def _regression(
    reads: Reads,
    seeds: list[int],
    *,
    backwards: bool = False,
    ranks_by: RanksBy = "distance",
) -> Regression:
    music, curves, lengths = _sequences(0.2)
    one = np.ones_like(lengths)
    if reads == "means":
        inputs, targets = (_means(music, lengths), one), (_means(curves, lengths), one)
    elif reads == "sequences":
        inputs, targets = (music, lengths), (_means(curves, lengths), one)
    else:
        inputs, targets = (music, lengths), (curves, lengths)
    if backwards:
        inputs, targets = targets, inputs
    train = [np.arange(60)] * len(seeds)
    return Regression(
        reads,
        StackedSequences(*inputs, train, CPU),
        StackedSequences(*targets, train, CPU),
        recurrent=6,
        widths=(12,),
        dropout=0.0,
        ranks_by=ranks_by,
        seeds=seeds,
    )


@pytest.mark.parametrize(
    ("reads", "backwards", "ranks_by"),
    [
        ("means", False, "distance"),
        ("means", True, "cosine"),
        ("sequences", False, "cosine"),
        ("sequences step by step", False, "distance"),
        ("sequences step by step", True, "distance"),
    ],
)
def test_finds_held_out_pieces_far_above_chance(
    reads: Reads, backwards: bool, ranks_by: RanksBy
) -> None:
    regression = _regression(reads, [0, 1], backwards=backwards, ranks_by=ranks_by)
    train_together(regression, [np.arange(60)] * 2, [0, 1], Steps(40, 0.03, True, 30))
    held_out = np.arange(60, 80)
    for scores in regression.scores([held_out, held_out]):
        assert retrieval_metrics(scores)["mrr"] > 2 * chance_metrics(20)["mrr"]


@pytest.mark.parametrize("reads", ["means", "sequences", "sequences step by step"])
def test_a_run_is_the_same_in_any_company(reads: Reads) -> None:
    together, alone = _regression(reads, [3, 4, 5]), _regression(reads, [4])
    steps, rows = Steps(3, 0.01, False, 30), np.arange(60)
    train_together(together, [rows] * 3, [3, 4, 5], steps)
    train_together(alone, [rows], [4], steps)
    held_out = np.arange(60, 80)
    found, single = together.scores([held_out] * 3)[1], alone.scores([held_out])[0]
    assert np.abs(found - single).max() < 1e-5
