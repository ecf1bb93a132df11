"""Sketches in Milvus: the first look of a search on another machine, the second one here.

Each snapshot has a collection of its own, filled before the snapshot is pointed to and never
changed after. A row of it is a window: its sketch, and what its track can be filtered by.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from models.progress import Progress
from service.errors import IndexUnreachableError, StartError
from service.index.expression import NO_TEMPO, Restriction, restriction
from service.index.frame import Floats32
from service.index.lifting import Lift, sketch_blocks
from service.index.partition import Effort, SketchIndex
from service.index.protocol import NOTHING, Admission
from service.index.shelf import Segment
from service.index.traits import Traits

MOST_ANSWERS = 16_384
"""Milvus' own limit of answers to one query."""

ROWS_AT_ONCE = 8_192
_WINDOWS_PER_SHARD, _MOST_SHARDS = 50_000_000, 16
LINKS, BUILDING_WIDTH = 16, 200
"""HNSW's M and efConstruction."""
SEARCH_WIDTH, _MOST_WIDTH = 1.5, 32_768
"""HNSW's ef, in rows that must be passed, and Milvus' limit of it."""
_UNRESTRICTED = Restriction("", 1, 1, 1, 0)
_CONNECTED_S, _SEARCHED_S, _WRITTEN_S, _LOADED_S = 10.0, 10.0, 120.0, 3_600.0

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MilvusSketches:
    """The sketches of a segment's N windows in a collection, whose ``owners`` (N,) have traits."""

    client: Any
    collection: str
    traits: Traits
    owners: NDArray[np.int32]
    lift: Lift
    _restrictions: WeakKeyDictionary[Admission, Restriction] = field(
        default_factory=WeakKeyDictionary
    )

    def nearest(
        self, sketched: Floats32, count: int, admission: Admission | None
    ) -> NDArray[np.int64]:
        """Return the about ``count`` best rows (Q, C) of sketched queries (Q, r), best first.

        :data:`NOTHING` fills up; what is not admitted is not among them.

        Raises:
            IndexUnreachableError: Milvus does not answer, or not in time.
        """
        known = _UNRESTRICTED if admission is None else self._restriction(admission)
        limit = min(known.asked_for(count), MOST_ANSWERS)
        width = min(round(SEARCH_WIDTH * known.width(limit)), _MOST_WIDTH)
        answers = _reached(
            self.client.search,
            self.collection,
            data=list(self.lift.queries(sketched)),
            limit=limit,
            filter=known.expression,
            output_fields=["row"],
            search_params={"params": {"ef": width}},
            consistency_level="Eventually",  # the collection does not change
            timeout=_SEARCHED_S,
        )
        rows = np.full((len(sketched), limit), NOTHING, np.int64)
        for place, answer in enumerate(answers):
            found = np.fromiter((hit["row"] for hit in answer), np.int64, len(answer))
            if admission is not None:
                found = found[admission.mask[found]]
            rows[place, : len(found)] = found
        return rows

    def _restriction(self, admission: Admission) -> Restriction:
        known = self._restrictions.get(admission)
        if known is None:
            known = restriction(admission, self.traits, self.owners)
            self._restrictions[admission] = known
        return known


@dataclass(frozen=True, eq=False)
class MilvusIndex(SketchIndex):
    """A :class:`SketchIndex` whose first look is Milvus'; all else is done here."""

    sketches: MilvusSketches

    def _first_look(
        self, queries: Floats32, effort: Effort, admission: Admission | None
    ) -> tuple[NDArray[np.int64], None]:
        assert self.partition is not None
        sketched = queries @ self.partition.sketch.queries
        return self.sketches.nearest(sketched, effort.candidates, admission), None


@dataclass(frozen=True, eq=False)
class MilvusStore:
    """A Milvus server, or with ``lite`` a folder of milvus-lite: a collection for each snapshot."""

    client: Any
    lite: bool

    def fill(self, snapshot_id: str, segment: Segment) -> None:
        """Write a segment's sketches and traits; goes on where an earlier call was broken off.

        A segment that is scanned because it is small has none.

        Raises:
            StartError: Milvus cannot be reached, or refuses.
        """
        index, traits = segment.index, segment.traits
        if not isinstance(index, SketchIndex) or index.partition is None or traits is None:
            return
        name, partition = collection_name(snapshot_id), index.partition
        _started(self._create, name, len(segment), partition.sketch.rank, traits)
        here = _started(self._count, name)
        if here >= len(segment):
            return
        known = here // ROWS_AT_ONCE
        lift = Lift.of(partition)
        longest = lift.longest(partition)
        with Progress("Filling Milvus", len(segment), "windows") as progress:
            progress.advance(known * ROWS_AT_ONCE)
            for block, (rows, sketches) in enumerate(sketch_blocks(partition, ROWS_AT_ONCE)):
                if block < known:
                    continue
                lifted = lift.items(sketches, longest)
                entities = _entities(rows, lifted, segment.owners[rows], traits)
                # Rows that a broken-off call left would be there twice after an insertion.
                broken_off = block == known and here % ROWS_AT_ONCE
                write = self.client.upsert if broken_off else self.client.insert
                _started(write, name, entities, timeout=_WRITTEN_S)
                progress.advance(len(rows))
        _started(self.client.flush, name, timeout=_LOADED_S)

    def index(
        self, snapshot_id: str, plain: SketchIndex, traits: Traits, owners: NDArray[np.int32]
    ) -> SketchIndex:
        """Return an index of a segment that looks here first; ``plain`` is the one without Milvus.

        Raises:
            StartError: Milvus cannot be reached, or does not hold all of the segment.
        """
        if plain.partition is None:
            return plain
        name = collection_name(snapshot_id)
        there = _started(self.client.has_collection, name, timeout=_CONNECTED_S)
        count = _started(self._count, name) if there else 0
        if count != len(plain):
            raise StartError(
                f"Milvus holds {count:,} of the search index's {len(plain):,} windows: "
                "fill it with `circumplex index fill`"
            )
        sketches = MilvusSketches(self.client, name, traits, owners, Lift.of(plain.partition))
        return MilvusIndex(plain.frame, plain.vectors, plain.partition, plain.effort, sketches)

    def drop(self, snapshot_ids: Iterable[str]) -> None:
        """Drop the collections of snapshots; one that cannot be dropped is logged."""
        for snapshot_id in snapshot_ids:
            name = collection_name(snapshot_id)
            try:
                _started(self.client.drop_collection, name, timeout=_WRITTEN_S)
            except StartError as error:
                logger.warning("the collection %s could not be dropped: %s", name, error)

    def _create(self, name: str, count: int, rank: int, traits: Traits) -> None:
        if self.client.has_collection(name, timeout=_CONNECTED_S):
            if "sketch" in self.client.list_indexes(name):
                return
            self.client.drop_collection(name, timeout=_WRITTEN_S)  # broken off before its indexes
        kind = _pymilvus().DataType
        most_tags = int(np.diff(traits.tag_starts).max(initial=1))
        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", kind.INT64, is_primary=True)
        schema.add_field("sketch", kind.FLOAT_VECTOR, dim=rank + 1)
        schema.add_field("artist", kind.INT32)
        schema.add_field("bpm", kind.FLOAT)
        schema.add_field(
            "tags", kind.ARRAY, element_type=kind.INT32, max_capacity=max(most_tags, 1)
        )
        indexes = self.client.prepare_index_params()
        # milvus-lite indexes no arrays.
        for column in ("artist", "bpm") if self.lite else ("artist", "bpm", "tags"):
            indexes.add_index(column, index_type="INVERTED")
        indexes.add_index(
            "sketch",
            index_type="HNSW",
            metric_type="L2",
            params={"M": LINKS, "efConstruction": BUILDING_WIDTH},
        )
        self.client.create_collection(
            name,
            schema=schema,
            index_params=indexes,
            num_shards=shards_for(count),
            timeout=_WRITTEN_S,
        )

    def _count(self, name: str) -> int:
        self.client.load_collection(name, timeout=_LOADED_S)
        answer = self.client.query(
            name,
            filter="",
            output_fields=["count(*)"],
            consistency_level="Strong",
            timeout=_WRITTEN_S,
        )
        return int(answer[0]["count(*)"])


def open_store(uri: str, token: str = "") -> MilvusStore | None:
    """Connect to Milvus: ``uri`` is a server's, or a path ending in .db; None where it is empty.

    Raises:
        StartError: pymilvus is not installed, or Milvus cannot be reached.
    """
    return MilvusStore(_client(uri, token), uri.endswith(".db")) if uri else None


def collection_name(snapshot_id: str) -> str:
    """Return what a snapshot's collection is called."""
    return f"circumplex_{snapshot_id.replace('-', '_')}"


def shards_for(count: int) -> int:
    """Return into how many shards a collection of so many windows is written."""
    return min(1 + count // _WINDOWS_PER_SHARD, _MOST_SHARDS)


@cache
def _client(uri: str, token: str) -> Any:
    """One connection a process, which all threads share; it mends itself."""
    return _started(_pymilvus().MilvusClient, uri=uri, token=token, timeout=_CONNECTED_S)


def _pymilvus() -> Any:
    try:
        return importlib.import_module("pymilvus")
    except ImportError as error:
        raise StartError(
            "CIRCUMPLEX_MILVUS_URI needs pymilvus: pip install 'circumplex[milvus]'"
        ) from error


def _entities(
    rows: NDArray[np.int64], lifted: Floats32, owners: NDArray[np.int32], traits: Traits
) -> list[dict[str, Any]]:
    """Write rows (B,) with their lifted sketches (B, r + 1) as Milvus takes them."""
    starts, tags = traits.tag_starts, traits.tag_places
    bpm = np.where(np.isnan(traits.bpm[owners]), NO_TEMPO, traits.bpm[owners])
    return [
        {
            "row": row,
            "sketch": sketch,
            "artist": artist,
            "bpm": tempo,
            "tags": tags[starts[owner] : starts[owner + 1]].tolist(),
        }
        for row, sketch, artist, tempo, owner in zip(
            rows.tolist(),
            lifted,
            traits.artists[owners].tolist(),
            bpm.tolist(),
            owners.tolist(),
            strict=True,
        )
    ]


def _reached(call: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
    """Call Milvus for a search; whatever goes wrong is none of the caller's fault."""
    try:
        return call(*arguments, **named)
    except _pymilvus().MilvusException as error:
        logger.error("Milvus does not answer: %s", error)
        raise IndexUnreachableError from error


def _started(call: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
    """Call Milvus before anything is served."""
    try:
        return call(*arguments, **named)
    except _pymilvus().MilvusException as error:
        raise StartError(
            f"Milvus cannot be used ({error.message}): check CIRCUMPLEX_MILVUS_URI and "
            "CIRCUMPLEX_MILVUS_TOKEN, and that it runs"
        ) from error
