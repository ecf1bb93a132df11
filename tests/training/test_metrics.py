"""Metrics against hand-made cases and a plain loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.metrics import (
    chance_metrics,
    expected_metrics_with_random_ties,
    ranks,
    retrieval_metrics,
    top_share_cosine,
)


def test_row_is_the_query_in_a_hand_made_case() -> None:
    scores = np.array([[3.0, 9.0, 1.0], [0.0, 5.0, 4.0], [7.0, 8.0, 6.0]])
    assert ranks(scores).tolist() == [2, 1, 3]
    assert ranks(scores.T).tolist() == [2, 3, 1]
    found = retrieval_metrics(scores, k=2)
    assert found["mrr"] == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    assert found["ar"] == pytest.approx(2.0)
    assert found["recall_at_10"] == pytest.approx(2 / 3)


def test_ties_count_against_us() -> None:
    assert ranks(np.ones((4, 4))).tolist() == [4, 4, 4, 4]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_ranks_equal_a_plain_loop(items: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 5, (items, items)).astype(float)
    expected = [sum(scores[i, j] >= scores[i, i] for j in range(items)) for i in range(items)]
    assert ranks(scores).tolist() == expected


def test_nan_never_ranks() -> None:
    scores = np.eye(3)
    scores[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ranks(scores)


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        ranks(np.zeros((2, 3)))


def test_chance_of_sixty_is_the_published_expectation() -> None:
    chance = chance_metrics(60)
    assert chance["mrr"] == pytest.approx(0.078, abs=5e-4)
    assert chance["ar"] == 30.5
    assert chance["recall_at_10"] == pytest.approx(1 / 6)


def test_chance_agrees_with_random_scores() -> None:
    rng = np.random.default_rng(0)
    found = np.mean([retrieval_metrics(rng.normal(size=(60, 60)))["mrr"] for _ in range(200)])
    assert found == pytest.approx(chance_metrics(60)["mrr"], abs=0.004)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_random_ties_equal_the_mean_over_all_orders(items: int, seed: int, k: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 3, (items, items)).astype(float)
    reciprocal, rank, recalled = [], [], []
    for query, row in enumerate(scores.tolist()):
        for order in itertools.permutations(range(items)):
            # Python's sort keeps equal items in the order that they had.
            ranked = sorted(order, key=(-np.array(row)).__getitem__)
            place = ranked.index(query) + 1
            reciprocal.append(1 / place)
            rank.append(place)
            recalled.append(place <= k)
    found = expected_metrics_with_random_ties(scores, k)
    assert found["mrr"] == pytest.approx(np.mean(reciprocal))
    assert found["ar"] == pytest.approx(np.mean(rank))
    assert found["recall_at_10"] == pytest.approx(np.mean(recalled))


def test_random_ties_of_equal_scores_are_chance() -> None:
    assert expected_metrics_with_random_ties(np.ones((60, 60))) == pytest.approx(chance_metrics(60))


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_without_ties_both_metrics_agree(items: int, seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(items * items).reshape(items, items) / 7
    assert expected_metrics_with_random_ties(scores) == pytest.approx(retrieval_metrics(scores))


def _plain_top_cosines(
    scores: NDArray[np.float64], values: list[NDArray[np.float64]], share: float
) -> list[float]:
    found = []
    for query, row in enumerate(scores):
        keys = [(-score, item == query) for item, score in enumerate(row)]
        order = sorted(range(len(row)), key=keys.__getitem__)
        cosines = []
        for item in order[: max(math.floor(share * len(row)), 1)]:
            dot = length_a = length_b = 0.0
            for a, b in zip(values[query], values[item], strict=False):
                for x, y in zip(a, b, strict=True):
                    dot, length_a, length_b = dot + x * y, length_a + x * x, length_b + y * y
            cosines.append(dot / math.sqrt(length_a) / math.sqrt(length_b))
        found.append(sum(cosines) / len(cosines))
    return found


@settings(max_examples=30, deadline=None)
@given(
    items=st.integers(1, 9), seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.05, 0.3, 1.0])
)
def test_top_cosine_equals_the_plain_loop(items: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(items, items))
    values = [rng.uniform(-1, 1, (int(rng.integers(1, 7)), 2)) for _ in range(items)]
    np.testing.assert_allclose(
        top_share_cosine(scores, values, share=share), _plain_top_cosines(scores, values, share)
    )


def test_top_cosine_takes_the_best_and_not_the_worst() -> None:
    values = [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([-1.0, 0.0])]
    scores = np.array([[2.0, 3.0, 1.0], [1.0, 2.0, 0.0], [5.0, 4.0, 3.0]])
    np.testing.assert_allclose(top_share_cosine(scores, values), [0.0, 1.0, -1.0])


def test_top_cosine_counts_ties_against_us() -> None:
    values = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
    np.testing.assert_allclose(top_share_cosine(np.ones((2, 2)), values), [0.0, 0.0])


def test_a_high_cosine_may_be_a_property_of_the_scale() -> None:
    """The same curves, the same ranking: [0, 1] makes everything alike, [-1, 1] does not."""
    rng = np.random.default_rng(4)
    signed = [rng.uniform(-0.3, 0.3, (20, 2)) for _ in range(40)]
    scores = rng.normal(size=(40, 40))
    unit = [(curve + 1) / 2 for curve in signed]
    assert top_share_cosine(scores, unit).mean() > 0.9
    assert abs(top_share_cosine(scores, signed).mean()) < 0.2


def test_top_cosine_of_nothing_is_zero() -> None:
    values = [np.zeros(3), np.ones(3)]
    np.testing.assert_allclose(top_share_cosine(np.eye(2), values), [0.0, 1.0])
    with pytest.raises(ValueError, match="2 items but 1 values"):
        top_share_cosine(np.eye(2), values[:1])
    with pytest.raises(ValueError, match="NaN"):
        top_share_cosine(np.full((2, 2), np.nan), values)
