"""The composite similarity against loops over the printed formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.similarity import (
    Encodings,
    composite,
    composite_similarity,
    correlation,
    item_vectors,
    kl_divergence,
    query_offset,
    query_vectors,
    standardised,
)

WEIGHTS = [0.0, 0.2, 0.5, 0.9, 1.0]


def random_encodings(seed: int, items: int, dimensions: int) -> Encodings:
    """Draw encodings as a tower gives them: float32, variances from 0.01 up."""
    rng = np.random.default_rng(seed)
    shape = (items, dimensions)
    return Encodings(
        rng.normal(0.3, 1.0, shape).astype(np.float32),
        rng.normal(2.0, 0.5, shape).astype(np.float32),
        (0.01 + rng.gamma(2.0, 0.3, shape)).astype(np.float32),
    )


def oracle_kl(query: Encodings, item: Encodings) -> float:
    """½ Σ [ln(σ_t/σ_q) + (σ_q + (μ_q - μ_t)²)/σ_t - 1] for one pair, term by term."""
    total = 0.0
    for d in range(query.dimensions):
        q_mean, q_variance = float(query.mean[0, d]), float(query.variance[0, d])
        t_mean, t_variance = float(item.mean[0, d]), float(item.variance[0, d])
        total += math.log(t_variance / q_variance)
        total += (q_variance + (q_mean - t_mean) ** 2) / t_variance - 1
    return total / 2


def oracle_correlation(query: Encodings, item: Encodings) -> float:
    q = [float(value) for value in query.embedding[0]]
    t = [float(value) for value in item.embedding[0]]
    q_mean, t_mean = sum(q) / len(q), sum(t) / len(t)
    covariance = sum((a - q_mean) * (b - t_mean) for a, b in zip(q, t, strict=True))
    spreads = sum((a - q_mean) ** 2 for a in q) * sum((b - t_mean) ** 2 for b in t)
    return covariance / math.sqrt(spreads)


def each_pair(queries: Encodings, items: Encodings) -> list[tuple[int, int, Encodings, Encodings]]:
    return [
        (row, column, queries.take([row]), items.take([column]))
        for row in range(len(queries))
        for column in range(len(items))
    ]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(1, 4),
    items=st.integers(1, 5),
    dimensions=st.integers(2, 20),
    weight=st.floats(0.0, 1.0),
    scale=st.floats(0.001, 1.0),
)
def test_against_naive_loops(
    seed: int, queries: int, items: int, dimensions: int, weight: float, scale: float
) -> None:
    asked = random_encodings(seed, queries, dimensions)
    found = random_encodings(seed + 1, items, dimensions)
    rho, kl = correlation(asked, found), kl_divergence(asked, found)
    score = composite_similarity(asked, found, weight=weight, divergence_scale=scale)
    assert rho.shape == kl.shape == score.shape == (queries, items)
    assert rho.dtype == kl.dtype == score.dtype == np.float64
    for row, column, query, item in each_pair(asked, found):
        expected_rho, expected_kl = oracle_correlation(query, item), oracle_kl(query, item)
        assert rho[row, column] == pytest.approx(expected_rho, abs=1e-9)
        assert kl[row, column] == pytest.approx(expected_kl, rel=1e-9, abs=1e-9)
        expected = weight * expected_rho - (1 - weight) * scale * expected_kl
        assert score[row, column] == pytest.approx(expected, rel=1e-9, abs=1e-9)


class TestCorrelation:
    def test_equals_numpys(self) -> None:
        asked, found = random_encodings(1, 7, 64), random_encodings(2, 9, 64)
        rows = np.vstack([asked.embedding, found.embedding]).astype(np.float64)
        both = np.asarray(np.corrcoef(rows))
        assert np.abs(correlation(asked, found) - both[:7, 7:]).max() < 1e-12

    @given(
        seed=st.integers(0, 1_000), factor=st.floats(0.01, 100.0), shift=st.floats(-100.0, 100.0)
    )
    def test_does_not_see_shift_and_scale(self, seed: int, factor: float, shift: float) -> None:
        asked = random_encodings(seed, 2, 16)
        embedding = asked.embedding.astype(np.float64) * factor + shift
        other = Encodings(embedding, asked.mean, asked.variance)
        assert np.abs(np.diag(correlation(asked, other)) - 1.0).max() < 1e-9

    def test_a_flat_embedding_correlates_with_nothing(self) -> None:
        found = random_encodings(3, 5, 8)
        for level in (0.0, 0.1, 0.5, -3.0):
            flat = Encodings(np.full((1, 8), level), np.zeros((1, 8)), np.ones((1, 8)))
            assert np.abs(correlation(flat, found)).max() < 1e-12

    def test_standardised_rows_are_centred_and_of_unit_length(self) -> None:
        unit = standardised(random_encodings(4, 6, 32).embedding)
        assert np.abs(unit.sum(axis=1)).max() < 1e-12
        assert np.abs(np.linalg.norm(unit, axis=1) - 1).max() < 1e-12


def gaussians(means: list[list[float]], variances: list[list[float]]) -> Encodings:
    mean = np.array(means)
    return Encodings(np.zeros_like(mean), mean, np.array(variances))


class TestKL:
    def test_query_first_by_hand(self) -> None:
        """One dimension, three Gaussians: N(0, 1), N(0, 4), N(1, 1)."""
        three = gaussians([[0.0], [0.0], [1.0]], [[1.0], [4.0], [1.0]])
        wide, narrow = math.log(2) - 0.375, 1.5 - math.log(2)
        expected = [
            [0.0, wide, 0.5],
            [narrow, 0.0, narrow + 0.5],
            [0.5, wide + 0.125, 0.0],
        ]
        found = kl_divergence(three, three)
        assert np.abs(found - expected).max() < 1e-12
        assert found[0, 1] != pytest.approx(found[1, 0], abs=0.1), "row is query, column is item"

    def test_score_takes_the_query_first(self) -> None:
        narrow, wide = gaussians([[0.0]], [[1.0]]), gaussians([[0.0]], [[4.0]])
        score = composite_similarity(narrow, wide, weight=0.25, divergence_scale=0.5)
        assert score[0, 0] == pytest.approx(-0.75 * 0.5 * (math.log(2) - 0.375), abs=1e-12)

    def test_of_a_gaussian_with_itself_is_zero(self) -> None:
        some = random_encodings(5, 20, 64)
        assert np.abs(np.diag(kl_divergence(some, some))).max() == 0.0

    @given(seed=st.integers(0, 1_000))
    def test_is_never_negative(self, seed: int) -> None:
        assert kl_divergence(random_encodings(seed, 4, 8), random_encodings(seed, 6, 8)).min() >= 0

    @given(seed=st.integers(0, 1_000), shift=st.floats(-50.0, 50.0))
    def test_does_not_see_a_common_shift(self, seed: int, shift: float) -> None:
        asked, found = random_encodings(seed, 3, 8), random_encodings(seed + 7, 4, 8)

        def moved(some: Encodings) -> Encodings:
            return Encodings(some.embedding, some.mean.astype(np.float64) + shift, some.variance)

        difference = kl_divergence(moved(asked), moved(found)) - kl_divergence(asked, found)
        assert np.abs(difference).max() < 1e-8

    def test_small_differences_do_not_cancel(self) -> None:
        asked = gaussians([[0.0] * 1_000], [[1.0] * 1_000])
        found = gaussians([[1e-6] * 1_000], [[1.0] * 1_000])
        assert kl_divergence(asked, found)[0, 0] == pytest.approx(0.5e-9, rel=1e-6)


class TestComposite:
    def test_ends_of_lambda(self) -> None:
        rho, kl = np.array([[0.3]]), np.array([[2.0]])
        assert composite(rho, kl, weight=1.0, divergence_scale=0.1)[0, 0] == 0.3
        assert composite(rho, kl, weight=0.0, divergence_scale=0.1)[0, 0] == -0.2
        assert composite(rho, kl, weight=0.5, divergence_scale=1.0)[0, 0] == -0.85


class TestInnerProduct:
    """Section 4 of the design: ψ(q)·φ(t) + ½w(D + Σ ln σ_q)."""

    @pytest.mark.parametrize("weight", WEIGHTS)
    @pytest.mark.parametrize("scale", [1.0, 0.01])
    @pytest.mark.parametrize("shifted", [True, False])
    def test_is_the_similarity(self, weight: float, scale: float, shifted: bool) -> None:
        asked, found = random_encodings(8, 16, 256), random_encodings(9, 2_000, 256)
        shift = found.mean.mean(axis=0) if shifted else np.zeros(256)
        items = item_vectors(found, shift)
        queries = query_vectors(asked, shift, weight=weight, divergence_scale=scale)
        assert items.shape == (2_000, 769)
        assert queries.shape == (16, 769)
        assert items.dtype == queries.dtype == np.float32

        offset = query_offset(asked, weight=weight, divergence_scale=scale)
        fast = queries @ items.T + offset[:, None]
        exact = composite_similarity(asked, found, weight=weight, divergence_scale=scale)
        # What float32 can give: 24 bits of the largest terms that are summed.
        terms = np.abs(queries[:, None, :]) * np.abs(items[None, :50, :])
        tolerance = 8e-7 * terms.sum(axis=2).max() + 1e-6
        assert np.abs(fast - exact).max() < tolerance
        if shifted:
            for row in range(16):
                assert best(fast[row]) == best(exact[row])

    @settings(max_examples=30)
    @given(seed=st.integers(0, 10_000), weight=st.floats(0.0, 1.0), scale=st.floats(0.01, 1.0))
    def test_ranks_alike(self, seed: int, weight: float, scale: float) -> None:
        asked, found = random_encodings(seed, 2, 32), random_encodings(seed + 1, 40, 32)
        shift = found.mean.mean(axis=0)
        queries = query_vectors(asked, shift, weight=weight, divergence_scale=scale)
        fast = queries.astype(np.float64) @ item_vectors(found, shift).astype(np.float64).T
        exact = composite_similarity(asked, found, weight=weight, divergence_scale=scale)
        for row in range(2):
            order = np.argsort(-fast[row])
            # Sorted by the fast scores, the exact ones fall but for rounding.
            assert np.diff(exact[row][order]).max() < 1e-3

    def test_the_shift_changes_no_score(self) -> None:
        asked, found = random_encodings(1, 3, 32), random_encodings(2, 5, 32)
        scores = []
        for shift in (np.zeros(32), np.full(32, 2.0), found.mean[0]):
            queries = query_vectors(asked, shift, weight=0.3, divergence_scale=1.0)
            scores.append(queries.astype(np.float64) @ item_vectors(found, shift).T)
        assert np.ptp(scores, axis=0).max() < 1e-3


def best(scores: NDArray[np.float64], count: int = 10) -> set[int]:
    return set(np.argsort(-scores)[:count].tolist())


class TestEncodings:
    def test_take_and_stack(self) -> None:
        some = random_encodings(1, 5, 3)
        assert len(some) == 5
        assert some.dimensions == 3
        again = Encodings.stack([some.take([3]), some.take(np.array([0, 0]))])
        for part in ("embedding", "mean", "variance"):
            assert np.array_equal(getattr(again, part), getattr(some, part)[[3, 0, 0]])
