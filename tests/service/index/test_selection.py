"""The largest of many numbers, against a sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.index.selection import put_largest_first

singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
few_values = st.sampled_from([0.0, 1.0, -1.0, 1e-30])


def check(values: NDArray[np.float32], count: int) -> None:
    kept, rows = values.copy(), np.arange(len(values))
    found = put_largest_first(kept, rows, len(values), count)
    assert found == min(count, len(values))
    assert np.array_equal(kept[:found], np.sort(values)[::-1][:found])
    assert np.array_equal(values[rows[:found]], kept[:found])
    assert len(set(rows[:found].tolist())) == found


@given(st.lists(singles | few_values, max_size=200), st.integers(0, 250))
def test_any_values(values: list[float], count: int) -> None:
    check(np.array(values, np.float32), count)


@pytest.mark.parametrize("outlier", [0.0, 1e30, -1e30, 3.4e38])
@pytest.mark.parametrize("count", [1, 30, 5_000])
def test_many_values_beside_one_that_is_far_away(outlier: float, count: int) -> None:
    values = np.random.default_rng(3).normal(size=5_000).astype(np.float32)
    values[77] = outlier
    values[78] = -outlier
    check(values, count)


def test_all_alike() -> None:
    check(np.full(3_000, 2.5, np.float32), 10)


def test_only_the_first_are_looked_at_and_moved() -> None:
    values, rows = np.arange(20, dtype=np.float32), np.arange(20)
    assert put_largest_first(values, rows, 10, 3) == 3
    assert rows[:3].tolist() == [9, 8, 7]
    assert np.array_equal(values[10:], np.arange(10, 20))


def test_what_is_no_number_breaks_nothing() -> None:
    values = np.full(100, np.nan, np.float32)
    rows = np.arange(100)
    assert put_largest_first(values, rows, 100, 100) == 100
    assert sorted(rows.tolist()) == list(range(100))
