"""The compiled loops against numpy in float64: for any size, mask and number of best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.similarity import (
    Encodings,
    composite_similarity,
    correlation,
    kl_divergence,
)
from service.index.frame import Frame
from service.index.pairs import score_pairs
from service.index.partition import in_blocks
from service.index.scanning import (
    BLOCK_ITEMS,
    EVERYTHING,
    NOT_KNOWN,
    best_cells,
    rank_rows,
    scan_rows,
    visit_cells,
)


def drawn(seed: int, count: int, columns: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Items as halves (N, P), and their constants (N,)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, columns)).astype(np.float16), rng.normal(size=count).astype("f4")


def drawn_mask(seed: int, count: int, share: float) -> NDArray[np.bool_]:
    return EVERYTHING if share == 1 else np.random.default_rng(seed).random(count) < share


def best_of(
    products: NDArray[np.floating], mask: NDArray[np.bool_], count: int
) -> NDArray[np.float64]:
    """The definition: the largest that count, largest first, -inf where there are fewer."""
    counting = products if len(mask) == 0 else products[mask]
    best = np.full(count, -np.inf)
    kept = np.sort(counting)[::-1][:count]
    best[: len(kept)] = kept
    return best


sizes = {
    "seed": st.integers(0, 2**32 - 1),
    "count": st.integers(1, 300),
    "wanted": st.integers(1, 40),
    "share": st.sampled_from([1, 0.5, 0.1, 0.0]),
}


def test_every_half_is_read_as_the_number_that_it_is() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)[:, None]
    query = np.array([1, 0], np.float32)
    expected = halves.view(np.float16).astype(np.float32).ravel()
    real = np.flatnonzero(np.isfinite(expected))
    assert len(real) == (1 << 16) - 2 * 1024
    values, rows = np.empty(len(real), np.float32), np.empty(len(real), np.int64)
    rank_rows(halves, np.zeros(len(halves), np.float32), query, real, NOT_KNOWN, values, rows)
    assert set(rows.tolist()) == set(real.tolist())
    np.testing.assert_array_equal(values, expected[rows])
    assert (np.diff(values) <= 0).all()


@given(**sizes, columns=st.integers(1, 70))
def test_a_scan_keeps_the_largest_products(
    seed: int, count: int, wanted: int, share: float, columns: int
) -> None:
    halves, constants = drawn(seed, count, columns)
    query = np.random.default_rng(seed + 1).normal(size=columns + 1).astype(np.float32)
    mask = drawn_mask(seed + 2, count, share)
    products = halves.astype(np.float64) @ query[:-1].astype(np.float64)
    products += constants * float(query[-1])

    values, rows = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
    scan_rows(halves.view(np.uint16), constants, query, mask, 0, count, values, rows)
    np.testing.assert_allclose(values, best_of(products, mask, wanted), rtol=1e-4, atol=1e-4)
    found = rows[rows >= 0]
    assert len(np.unique(found)) == len(found) == np.isfinite(values).sum()
    assert not len(mask) or mask[found].all()
    np.testing.assert_allclose(values[: len(found)], products[found], rtol=1e-4, atol=1e-4)

    some = np.concatenate([np.random.default_rng(seed).permutation(found), [-1, -1]])
    again, ranked = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
    rank_rows(halves.view(np.uint16), constants, query, some, NOT_KNOWN, again, ranked)
    np.testing.assert_array_equal(again, values)
    assert set(ranked.tolist()) == set(rows.tolist())


@given(**{**sizes, "count": st.integers(40, 300)}, error=st.sampled_from([0.0, 0.1, 2.0]))
def test_what_is_known_of_products_spares_looks_and_loses_none(
    seed: int, count: int, wanted: int, share: float, error: float
) -> None:
    halves, constants = drawn(seed, count, 24)
    rng = np.random.default_rng(seed + 1)
    query = rng.normal(size=25).astype(np.float32)
    products = halves.astype(np.float64) @ query[:-1] + constants * float(query[-1])
    guessed = (products + 3 + rng.uniform(-error, error, count)).astype(np.float32)
    rows = np.argsort(-guessed)
    nothing = np.full(round((1 - share) * 20), -1)
    rows, guessed = np.append(rows, nothing), np.append(guessed[rows], -np.inf + nothing)
    values, best = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
    guessed = guessed.astype(np.float32)
    rank_rows(halves.view(np.uint16), constants, query, rows, guessed, values, best)
    expected = best_of(products, EVERYTHING, wanted)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)


def test_rows_without_a_chance_are_not_looked_at() -> None:
    products = np.linspace(9, 0, 200).astype(np.float16)
    query, nothing = np.array([1, 0], np.float32), np.zeros(200, np.float32)
    expected = products.astype(np.float32)
    products[150] = 100  # nobody expects it
    halves, rows = products[:, None].view(np.uint16), np.arange(200)
    values, best = np.empty(5, np.float32), np.empty(5, np.int64)
    rank_rows(halves, nothing, query, rows, expected, values, best)
    assert best.tolist() == [0, 1, 2, 3, 4]
    rank_rows(halves, nothing, query, rows, NOT_KNOWN, values, best)
    assert best.tolist() == [150, 0, 1, 2, 3]


def test_a_scan_of_a_part_names_the_rows_of_the_whole() -> None:
    halves, constants = drawn(3, 50, 9)
    query = np.ones(10, np.float32)
    values, rows = np.empty(50, np.float32), np.empty(50, np.int64)
    scan_rows(halves.view(np.uint16), constants, query, EVERYTHING, 20, 35, values, rows)
    assert sorted(rows[:15].tolist()) == list(range(20, 35))
    assert (rows[15:] == -1).all()
    assert (values[15:] == -np.inf).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    rank=st.integers(1, 19),
    cells=st.integers(1, 60),
    data=st.data(),
)
def test_the_cells_that_promise_most(seed: int, rank: int, cells: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    query = rng.normal(size=rank).astype(np.float32)
    centroids = rng.normal(size=(rank, cells)).astype(np.float32)
    spreads = rng.exponential(size=(rank, cells)).astype(np.float32)
    wanted = data.draw(st.integers(1, cells))
    promises = query.astype(np.float64) @ centroids
    promises += np.sqrt(query.astype(np.float64) ** 2 @ spreads)
    values, best = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
    best_cells(query, centroids, spreads, values, best)
    np.testing.assert_allclose(values, best_of(promises, EVERYTHING, wanted), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(promises[best], values, rtol=1e-4, atol=1e-5)


@given(**sizes, rank=st.integers(1, 19), cells=st.integers(1, 9))
def test_a_visit_keeps_the_best_of_what_lies_in_the_cells(
    seed: int, count: int, wanted: int, share: float, rank: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    centroids = rng.normal(size=(rank, cells)).astype(np.float32)
    steps = rng.exponential(0.01, size=(rank, cells)).astype(np.float32)
    cell = np.sort(rng.integers(0, cells, count))
    codes = rng.integers(-127, 128, (rank, count)).astype(np.int8)
    sketches = (centroids[:, cell] + steps[:, cell].astype(np.float64) * codes).T
    rows = rng.permutation(count).astype(np.int32)
    starts = np.searchsorted(cell, np.arange(cells + 1))
    blocks = [in_blocks(codes[:, starts[at] : starts[at + 1]]) for at in range(cells)]
    first_blocks = np.cumsum([0, *map(len, blocks)])
    visited = rng.permutation(cells)[: rng.integers(1, cells + 1)]
    mask = drawn_mask(seed + 2, count, share)
    query = rng.normal(size=rank).astype(np.float32)
    products, counting = np.empty(count), np.empty(count, np.bool_)
    products[rows] = sketches @ query
    counting[rows] = np.isin(cell, visited)
    if len(mask):
        counting &= mask

    values, best = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
    every_block = np.ascontiguousarray(np.concatenate(blocks))
    grids = np.ascontiguousarray(np.stack([centroids.T, steps.T], axis=1))
    visit_cells(query, visited, grids, every_block, first_blocks, starts, rows, mask, values, best)
    np.testing.assert_allclose(values, best_of(products, counting, wanted), rtol=1e-4, atol=1e-4)
    found = best[best >= 0]
    assert counting[found].all()
    np.testing.assert_allclose(products[found], values[: len(found)], rtol=1e-4, atol=1e-4)


@given(
    seed=st.integers(0, 2**32 - 1),
    dimensions=st.integers(1, 70),
    pairs=st.integers(1, 12),
    magnitude=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_pairs_are_scored_as_defined(
    seed: int, dimensions: int, pairs: int, magnitude: float
) -> None:
    rng = np.random.default_rng(seed)

    def block(count: int) -> Encodings:
        return Encodings(
            magnitude * rng.normal(size=(count, dimensions)).astype(np.float32),
            magnitude * rng.normal(size=(count, dimensions)).astype(np.float32),
            np.exp(3 * rng.normal(size=(count, dimensions))).astype(np.float32),
        )

    query, items = block(3), block(pairs)
    query_rows = rng.integers(0, 3, pairs)
    correlations, divergences = scored(query, query_rows, items)
    places = query_rows, np.arange(pairs)
    np.testing.assert_allclose(correlations, correlation(query, items)[places], atol=1e-12)
    np.testing.assert_allclose(divergences, kl_divergence(query, items)[places], rtol=1e-11)
    for pair in range(pairs):
        alone = scored(query, query_rows[pair : pair + 1], items.take([pair]))
        assert (alone[0][0], alone[1][0]) == (correlations[pair], divergences[pair])


def test_the_least_and_the_largest_single_variances_can_be_compared() -> None:
    least, largest = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    flat = np.zeros((1, 4), np.float32)
    query, item = (Encodings(flat, flat, np.full((1, 4), value)) for value in (least, largest))
    for one, other in ((query, item), (item, query)):
        correlations, divergences = scored(one, np.zeros(1, np.int64), other)
        assert correlations[0] == 0
        np.testing.assert_allclose(divergences, kl_divergence(one, other)[0], rtol=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    dimensions=st.integers(2, 40),
    weight=st.floats(0, 1),
    scale=st.floats(0.01, 2),
)
def test_a_frame_keeps_the_similarity(
    seed: int, dimensions: int, weight: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)

    def block(count: int) -> Encodings:
        return Encodings(
            rng.normal(size=(count, dimensions)).astype(np.float32),
            rng.normal(2, 1, size=(count, dimensions)).astype(np.float32),
            rng.uniform(0.2, 2, size=(count, dimensions)).astype(np.float32),
        )

    query, items = block(3), block(20)
    frame = Frame.of(items)
    vectors, offset = frame.questions(query, weight=weight, divergence_scale=scale)
    products = vectors.astype(np.float64) @ frame.items(items).astype(np.float64).T
    expected = composite_similarity(query, items, weight=weight, divergence_scale=scale)
    largest = scale * np.abs(kl_divergence(query, items)).max() + 1
    np.testing.assert_allclose(products + offset[:, None], expected, atol=1e-5 * largest)


def scored(
    query: Encodings, query_rows: NDArray[np.int64], items: Encodings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    correlations, divergences = np.empty(len(items)), np.empty(len(items))
    score_pairs(
        query.embedding.astype(np.float64),
        query.mean.astype(np.float64),
        query.variance.astype(np.float64),
        query_rows,
        *items.block(np.arange(len(items))),
        correlations,
        divergences,
    )
    return correlations, divergences


def test_nothing_is_written_where_nothing_is_wanted() -> None:
    halves, constants = drawn(4, 20, 8)
    query, guard = np.ones(9, np.float32), np.full(3, 7.0, np.float32)
    rows = np.full(3, 7)
    none, no_rows = guard[1:1], rows[1:1]
    single, starts = np.ones((8, 1), np.float32), np.array([0, 20])
    scan_rows(halves.view(np.uint16), constants, query, EVERYTHING, 0, 20, none, no_rows)
    rank_rows(halves.view(np.uint16), constants, query, np.arange(20), NOT_KNOWN, none, no_rows)
    best_cells(query[:8], single, single, none, no_rows)
    codes, order = np.ones((1, 8, BLOCK_ITEMS), np.int8), np.arange(20, dtype=np.int32)
    visit_cells(
        query[:8],
        np.array([0]),
        np.ones((1, 2, 8), np.float32),
        codes,
        np.array([0, 1]),
        starts,
        order,
        EVERYTHING,
        none,
        no_rows,
    )
    assert (guard == 7).all()
    assert (rows == 7).all()


@pytest.mark.parametrize("wanted", [1, 2, 3, 64])
def test_equal_products_fill_the_list(wanted: int) -> None:
    halves = np.ones((100, 4), np.float16).view(np.uint16)
    values, rows = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
    query = np.ones(5, np.float32)
    scan_rows(halves, np.zeros(100, np.float32), query, EVERYTHING, 0, 100, values, rows)
    assert len(set(rows.tolist())) == wanted
    assert (values == 4).all()
