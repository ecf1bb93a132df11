"""Metrics against hand-made cases and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import chance_metrics, ranks, retrieval_metrics


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
