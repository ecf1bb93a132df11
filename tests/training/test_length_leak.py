"""The length-only baseline against enumeration, and what it finds in PMEmo's real annotations."""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.length_leak import expected_length_metrics, length_only_scores
from training.metrics import (
    chance_metrics,
    expected_metrics_with_random_ties,
    retrieval_metrics,
)

Ties = Literal["random", "against"]


@pytest.fixture(scope="module")
def pmemo_lengths(shared_data: Path) -> list[int]:
    """Numbers of steps of the songs whose last annotation is at least 7.0 s after the first."""
    times: dict[str, list[float]] = defaultdict(list)
    with (shared_data / "pmemo" / "annotations" / "dynamic_annotations.csv").open() as file:
        for row in csv.DictReader(file):
            times[row["musicId"]].append(float(row["frameTime"]))
    return [len(at) for at in times.values() if max(at) - min(at) >= 7.0]


def test_what_length_gives_on_pmemo(pmemo_lengths: list[int]) -> None:
    assert len(pmemo_lengths) == 701
    by_chance = expected_length_metrics(pmemo_lengths, 141, ties="random")
    assert by_chance["mrr"] == pytest.approx(0.5474, abs=5e-5)
    assert by_chance["ar"] == pytest.approx(2.817, abs=5e-4)
    against = expected_length_metrics(pmemo_lengths, 141, ties="against")
    assert against["mrr"] == pytest.approx(0.3238, abs=5e-5)
    assert against["ar"] == pytest.approx(4.633, abs=5e-4)


def test_drawn_splits_of_pmemo_scatter_around_the_expectation(pmemo_lengths: list[int]) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        drawn = rng.choice(pmemo_lengths, 141, replace=False)
        found.append(expected_metrics_with_random_ties(length_only_scores(drawn, drawn)))
    assert np.mean([one["mrr"] for one in found]) == pytest.approx(0.5474, abs=0.01)
    assert np.mean([one["ar"] for one in found]) == pytest.approx(2.817, abs=0.06)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(14, 18), min_size=1, max_size=6),
    share=st.floats(0, 1),
    ties=st.sampled_from(["random", "against"]),
)
def test_expectation_equals_all_draws(lengths: list[int], share: float, ties: Ties) -> None:
    items = 1 + round(share * (len(lengths) - 1))
    measure = retrieval_metrics if ties == "against" else expected_metrics_with_random_ties
    draws = [
        measure(length_only_scores(drawn, drawn), 2)
        for drawn in itertools.combinations(lengths, items)
    ]
    found = expected_length_metrics(lengths, items, ties=ties, k=2)
    assert found["mrr"] == pytest.approx(np.mean([draw["mrr"] for draw in draws]))
    assert found["ar"] == pytest.approx(np.mean([draw["ar"] for draw in draws]))
    assert found["recall_at_10"] == pytest.approx(np.mean([draw["recall_at_10"] for draw in draws]))


def test_one_length_tells_nothing_and_all_different_tell_everything() -> None:
    assert expected_length_metrics([60] * 50, 20, ties="random") == pytest.approx(
        chance_metrics(20)
    )
    assert expected_length_metrics([60] * 50, 20, ties="against")["ar"] == pytest.approx(20)
    told = expected_length_metrics(range(50), 20, ties="against")
    assert told == pytest.approx({"mrr": 1, "ar": 1, "recall_at_10": 1})


def test_scores_are_highest_for_the_same_length() -> None:
    scores = length_only_scores([14, 30], [30, 14, 12])
    assert scores.tolist() == [[-16, 0, -2], [0, -16, -18]]


@pytest.mark.parametrize("items", [0, 4])
def test_more_items_than_songs_are_refused(items: int) -> None:
    with pytest.raises(ValueError, match=f"cannot draw {items} of 3 songs"):
        expected_length_metrics([14, 15, 16], items, ties="random")
