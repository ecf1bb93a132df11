"""The answer of the search is that of an exhaustive one, whatever the index proposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.similarity import Encodings
from service.filtering import Filters
from service.index.flat import FlatIndex
from service.index.ids import id_array
from service.index.shelf import Segment, Shelf
from service.index.traits import Traits
from service.ranking import rank
from tests.service import oracle

SCALE = 0.25


def encodings(rng: np.random.Generator, count: int, dimensions: int, spread: float) -> Encodings:
    return Encodings(
        rng.normal(size=(count, dimensions)).astype(np.float32),
        (100 + spread * rng.normal(size=(count, dimensions))).astype(np.float32),
        rng.uniform(0.01, 2, (count, dimensions)).astype(np.float32),
    )


def shelf_of(items: Encodings, owners: np.ndarray) -> Shelf:
    names = id_array([f"{number:04}" for number in range(int(owners.max(initial=-1)) + 1)])
    times = np.zeros(len(items))
    traits = Traits.of(
        names, [(name(owner), artist_of(owner), None) for owner in range(len(names))], []
    )
    return Shelf.of(
        Segment(FlatIndex.build(items), items, owners.astype(np.int32), names, times, times, traits)
    )


def name(owner: int) -> str:
    return f"{owner:04}"


def artist_of(owner: int) -> str | None:
    return None if owner % 3 == 0 else f"artist {owner % 5}"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 40),
    queries=st.integers(1, 4),
    weight=st.floats(0, 1),
    excluded=st.integers(0, 150),
    limit=st.none() | st.integers(1, 3),
    copies=st.booleans(),
)
def test_the_answer_is_the_exhaustive_one(
    seed: int,
    k: int,
    queries: int,
    weight: float,
    excluded: int,
    limit: int | None,
    copies: bool,
) -> None:
    rng = np.random.default_rng(seed)
    items = encodings(rng, 900, 6, 0.3)
    if copies:  # ties, also across the edge of what is proposed
        items = items.take(np.concatenate([np.arange(300)] * 3))
    owners = np.sort(rng.integers(0, 300, 900))
    owners = np.unique(owners, return_inverse=True)[1]
    shelf = shelf_of(items, owners)
    query = encodings(rng, queries, 6, 0.3)
    banned = {name(owner) for owner in rng.permutation(shelf.owner_count)[:excluded].tolist()}
    choice = Filters(shelf).choice(None, banned, limit)
    found, exhaustive = (
        rank(
            shelf,
            query,
            k,
            weight=weight,
            divergence_scale=SCALE,
            choice=choice,
            exact=exact,
        )
        for exact in (False, True)
    )
    assert found == exhaustive
    assert not banned & {hit.owner_id for hit in found}


def test_scores_and_order_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    items, query = encodings(rng, 200, 8, 0.5), encodings(rng, 3, 8, 0.5)
    owners = np.repeat(np.arange(100), 2)
    shelf = shelf_of(items, owners)
    names = [name(int(owner)) for owner in owners]
    truth = oracle.ranking(query, items, names, 0.4, SCALE)
    hits = rank(shelf, query, 20, weight=0.4, divergence_scale=SCALE)
    assert [hit.owner_id for hit in hits] == [owner for _, owner in truth[:20]]
    for hit in hits:
        score, rho, kl = oracle.scores(query, hit.query_row, items, hit.row, 0.4, SCALE)
        assert (hit.score, hit.correlation, hit.kl_divergence) == pytest.approx(
            (score, rho, kl), rel=1e-9, abs=1e-12
        )


@dataclass(frozen=True, eq=False)
class Watched:
    """Encodings, and how many of them were looked at each time."""

    encodings: Encodings
    looks: list[int]

    def __len__(self) -> int:
        return len(self.encodings)

    @property
    def dimensions(self) -> int:
        return self.encodings.dimensions

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Encodings:
        return self.encodings.take(rows)

    def block(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        self.looks.append(len(rows))
        return self.encodings.block(rows)


@pytest.mark.parametrize(
    ("windows_each", "copies", "looks"),
    [(1, False, [15]), (2, False, [24]), (1, True, [15, 30, 120, 300])],
)
def test_few_candidates_are_scored_where_the_others_have_no_chance(
    windows_each: int, copies: bool, looks: list[int]
) -> None:
    rng = np.random.default_rng(8)
    items = encodings(rng, 300, 8, 0.5)
    if copies:
        items = items.take([0] * 300)
    else:  # the windows of an owner are alike
        items = items.take(np.repeat(np.arange(300), windows_each)[:300])
    (segment,) = shelf_of(items, np.arange(300) // windows_each).segments
    watched = Watched(items, [])
    shelf = Shelf.of(replace(segment, encodings=watched))
    query = encodings(rng, 1, 8, 0.5)
    hits = rank(shelf, query, 10, weight=0.5, divergence_scale=SCALE)
    assert hits == rank(
        Shelf.of(segment), query, 10, weight=0.5, divergence_scale=SCALE, exact=True
    )
    assert len(hits) == 10
    assert watched.looks == looks


def test_equal_items_are_ordered_by_id() -> None:
    rng = np.random.default_rng(4)
    one = encodings(rng, 1, 8, 0.5)
    shelf = shelf_of(one.take([0] * 300), np.arange(300))
    hits = rank(shelf, encodings(rng, 1, 8, 0.5), 5, weight=0.5, divergence_scale=SCALE)
    assert [hit.owner_id for hit in hits] == ["0000", "0001", "0002", "0003", "0004"]
    assert len({hit.score for hit in hits}) == 1


def test_fewer_owners_than_asked_for_are_all_given() -> None:
    rng = np.random.default_rng(5)
    shelf = shelf_of(encodings(rng, 90, 8, 0.5), np.repeat(np.arange(3), 30))
    hits = rank(shelf, encodings(rng, 2, 8, 0.5), 10, weight=0.5, divergence_scale=SCALE)
    assert len(hits) == 3


def test_an_empty_shelf_answers_nothing() -> None:
    empty = encodings(np.random.default_rng(6), 0, 8, 0.5)
    query = encodings(np.random.default_rng(7), 1, 8, 0.5)
    shelf = shelf_of(empty, np.zeros(0, np.int32))
    assert rank(shelf, query, 10, weight=0.5, divergence_scale=SCALE) == []
