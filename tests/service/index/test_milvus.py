"""Milvus as a store of sketches: filled once, resumed, dropped, and gone while it is needed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from milvus_lite.server_manager import (  # type: ignore[import-untyped]
    server_manager_instance,
)

from models.similarity import Encodings
from service.errors import IndexUnreachableError, StartError
from service.index import milvus
from service.index.expression import NO_TEMPO, filter_expression, restriction
from service.index.ids import id_array
from service.index.lifting import Lift, sketch_blocks
from service.index.milvus import MilvusStore, collection_name, open_store, shards_for
from service.index.partition import Partition, SketchIndex
from service.index.protocol import Admission
from service.index.shelf import Segment
from service.index.traits import TrackFilter, Traits
from tests.service.index.material import SCALE, Towers

OLD, NEW = "20260101T000000000000-000000000001", "20260102T000000000000-000000000002"
NAMES = ["a", "b'", 'c"', "d\\", "]", "{e}", "ß", "%"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MilvusStore]:
    place = str(tmp_path / "sketches.db")
    store = open_store(place)
    assert store is not None
    yield store
    store.client.close()
    server_manager_instance.release_server(place)


@pytest.fixture
def partition(segment: Segment) -> Partition:
    assert isinstance(segment.index, SketchIndex)
    assert segment.index.partition is not None
    return segment.index.partition


def index(store: MilvusStore, snapshot_id: str, segment: Segment) -> SketchIndex:
    assert isinstance(segment.index, SketchIndex)
    assert segment.traits is not None
    return store.index(snapshot_id, segment.index, segment.traits, segment.owners)


def count(store: MilvusStore, snapshot_id: str) -> int:
    name = collection_name(snapshot_id)
    answer = store.client.query(name, filter="", output_fields=["count(*)"])
    return int(answer[0]["count(*)"])


def test_every_sketch_is_streamed_once(partition: Partition) -> None:
    blocks = list(sketch_blocks(partition, 1_000))
    assert {len(rows) for rows, _ in blocks[:-1]} == {1_000}
    rows = np.concatenate([rows for rows, _ in blocks])
    assert (np.sort(rows) == np.arange(len(partition))).all()
    sketches = np.concatenate([sketches for _, sketches in blocks])
    for place in range(0, partition.cells, 7):
        own, expected = partition.cell(place)
        places = [np.flatnonzero(rows == row)[0] for row in own]
        assert (sketches[places] == expected).all()


def test_lifted_items_are_as_long_as_the_longest_and_ordered_by_inner_product(
    partition: Partition,
) -> None:
    lift = Lift.of(partition)
    longest = lift.longest(partition)
    sketches = np.concatenate([each for _, each in sketch_blocks(partition, 4_096)])
    lifted = lift.items(sketches, longest)
    assert np.linalg.norm(lifted, axis=1) == pytest.approx(longest, rel=1e-5)
    centred = sketches.astype(np.float64) - sketches.mean(axis=0, dtype=np.float64)
    assert longest == pytest.approx(np.linalg.norm(centred, axis=1).max(), rel=1e-3)
    assert lift.length == pytest.approx(np.sqrt((centred**2).sum(axis=1).mean()), rel=1e-3)
    asked = np.random.default_rng(0).normal(size=(5, sketches.shape[1])).astype(np.float32)
    for query, near in zip(asked, lift.queries(asked), strict=True):
        distances = ((lifted.astype(np.float64) - near) ** 2).sum(axis=1)
        nearest = np.argsort(distances)[:200]
        products = sketches.astype(np.float64) @ query
        assert len(np.intersect1d(nearest, np.argsort(-products)[:200])) >= 199


def test_an_interrupted_fill_goes_on_and_writes_no_row_twice(
    store: MilvusStore, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []

    class Flaky:
        """The client, whose third insertion lands by half and then fails."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store.client, name)

        def insert(self, name: str, rows: list[Any], **options: Any) -> Any:
            if len(written) == 2:
                store.client.insert(name, rows[:1_000], **options)
                raise milvus._pymilvus().MilvusException(message="the line is dead")
            written.append(("insert", len(rows)))
            return store.client.insert(name, rows, **options)

        def upsert(self, name: str, rows: list[Any], **options: Any) -> Any:
            written.append(("upsert", len(rows)))
            return store.client.upsert(name, rows, **options)

    monkeypatch.setattr(milvus, "ROWS_AT_ONCE", 6_000)
    flaky = MilvusStore(Flaky(), lite=True)
    with pytest.raises(StartError, match="the line is dead"):
        flaky.fill(OLD, segment)
    with pytest.raises(StartError, match=r"holds 13,000 of .* 21,000 .*`circumplex index fill`"):
        index(store, OLD, segment)
    written.append(("failed", 0))
    flaky.fill(OLD, segment)
    assert written[3:] == [("upsert", 6_000), ("insert", 3_000)]
    assert count(store, OLD) == len(segment)
    flaky.fill(OLD, segment)
    assert len(written) == 5
    index(store, OLD, segment)


def test_only_what_is_named_is_dropped(store: MilvusStore, segment: Segment) -> None:
    for snapshot_id in (OLD, NEW):
        store.fill(snapshot_id, segment)
    store.client.create_collection("somebody_elses", dimension=4)
    store.drop([OLD, "20200101T000000000000-000000000000"])
    assert sorted(store.client.list_collections()) == [collection_name(NEW), "somebody_elses"]
    with pytest.raises(StartError, match=r"holds 0 of"):
        index(store, OLD, segment)


def test_a_segment_that_is_scanned_needs_no_collection(
    store: MilvusStore, segment: Segment
) -> None:
    plain = segment.index
    assert isinstance(plain, SketchIndex)
    small = SketchIndex(plain.frame, plain.vectors, None, plain.effort)
    assert segment.traits is not None
    assert store.index(OLD, small, segment.traits, segment.owners) is small
    assert store.client.list_collections() == []


def test_a_server_that_is_gone_is_no_fault_of_the_request(
    tmp_path: Path, segment: Segment, towers: Towers, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "gone.db")
    store = open_store(place)
    assert store is not None
    store.fill(OLD, segment)
    there = index(store, OLD, segment)
    monkeypatch.setattr(milvus, "_SEARCHED_S", 1.0)
    server_manager_instance.release_server(place)
    query = towers.queries(1)
    with pytest.raises(IndexUnreachableError, match="does not answer"):
        there.propose(query, 10, weight=0.5, divergence_scale=SCALE)
    exact = there.propose(query, 10, weight=0.5, divergence_scale=SCALE, exact=True)
    assert (exact.rows >= 0).all()
    assert (IndexUnreachableError.status, IndexUnreachableError.code) == (503, "unavailable")


def test_a_server_that_is_not_there_is_said_so_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(milvus, "_CONNECTED_S", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match="check CIRCUMPLEX_MILVUS_URI"):
            open_store(f"http://127.0.0.1:{port}")


def test_no_uri_is_no_store() -> None:
    assert open_store("") is None


@pytest.fixture(scope="module")
def traits() -> Traits:
    rng = np.random.default_rng(12)
    ids = id_array([f"{number:03}" for number in range(300)])
    known = [
        (
            each.decode(),
            None if place % 11 == 0 else NAMES[int(rng.integers(len(NAMES)))],
            None if place % 5 == 0 else float(rng.choice([0.0, 60.1, 99.9, 120.0, 120.1])),
        )
        for place, each in enumerate(ids.tolist())
    ]
    tagged = [
        (each.decode(), name) for each in ids.tolist() for name in NAMES if rng.random() < 0.4
    ]
    return Traits.of(ids, known, tagged)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory, traits: Traits) -> Any:
    """A collection of bare traits, a row an owner, as a filled one has them."""
    store = open_store(str(tmp_path_factory.mktemp("traits") / "traits.db"))
    assert store is not None
    store._create("traits", len(traits), 2, traits)
    rows = np.arange(len(traits))
    entities = milvus._entities(
        rows, np.ones((len(rows), 3), np.float32), rows.astype(np.int32), traits
    )
    store.client.insert("traits", entities)
    store.client.load_collection("traits")
    return store.client


names = st.lists(st.sampled_from([*NAMES, "A ", "nobody"]), max_size=3).map(tuple)
bounds = st.none() | st.sampled_from([-5.0, 0.0, 60.1, 99.9, 99.90000001, 120.0, 120.1, 500.0])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    artists=names,
    tags=names,
    low=bounds,
    high=bounds,
    dead=st.sets(st.integers(0, 299), max_size=200),
)
def test_an_expression_lets_through_what_the_mask_does(
    listed: Any,
    traits: Traits,
    artists: tuple[str, ...],
    tags: tuple[str, ...],
    low: float | None,
    high: float | None,
    dead: set[int],
) -> None:
    wanted = TrackFilter(artists, tags, low, high)
    mask = traits.admitted(wanted)
    assert rows_let_through(listed, filter_expression(wanted, traits)) == set(np.flatnonzero(mask))
    mask[sorted(dead)] = False
    owners = np.arange(len(traits), dtype=np.int32)
    known = restriction(Admission(mask, wanted=wanted), traits, owners)
    assert rows_let_through(listed, known.expression) == set(np.flatnonzero(mask))
    assert known.asked_for(50) == 50


def rows_let_through(client: Any, expression: str) -> set[int]:
    found = client.query("traits", filter=expression, output_fields=["row"], limit=1_000)
    return {row["row"] for row in found}


def test_rows_too_many_to_name_are_asked_for_beside_those_wanted(
    segment: Segment, items: Encodings
) -> None:
    assert segment.traits is not None
    mask = np.zeros(len(items), np.bool_)
    mask[::4] = True
    known = restriction(Admission(mask, hidden=100), segment.traits, segment.owners)
    assert known.expression == ""
    assert known.asked_for(200) == 200 + 2 * 200 * 4 + 100
    mask[:] = True
    mask[:5_000] = False
    known = restriction(Admission(mask, hidden=5_000), segment.traits, segment.owners)
    assert known.asked_for(1_000) == 1_000 + 5_000
    assert known.width(100) == 100 + 5_000


def test_names_and_shards() -> None:
    assert collection_name(OLD) == "circumplex_20260101T000000000000_000000000001"
    assert [shards_for(count) for count in (1, 10**8, 10**9)] == [1, 3, 16]
    assert NO_TEMPO == -1.0
