"""An approximate search: sketches in an inverted file, then a second, closer look.

Sketches are parted by k-means (FAISS). A query visits the cells that promise most: those whose
centroid scores high for it, and more so where the cell spreads in the query's direction. What the
cells hold is scored by sketches, the best few hundred again from the vectors in half precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.frame import Floats32, Frame
from service.index.protocol import Admission, Proposals
from service.index.scanning import BLOCK_ITEMS, EVERYTHING, NOT_KNOWN, best_cells, visit_cells
from service.index.sketch import Sketch
from service.index.vectors import HalfVectors

_FEW = 4_096  # so few items are scored one and all
_KMEANS_ROUNDS = 8
_POINTS_PER_CELL = 48
_SEED = 1
_LARGEST_CODE = 127
_ROWS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Effort:
    """How far a search looks: cells visited, and candidates that are looked at twice."""

    cells: int
    candidates: int


@dataclass(frozen=True, eq=False)
class Partition:
    """The sketches of N items in L cells.

    Cell l holds the items ``rows[starts[l]:starts[l + 1]]``. ``centroids`` and ``spreads`` (r, L)
    are means and variances of their sketches; a sketch is its cell's centroid and as many of the
    cell's ``steps`` (r, L) as its ``codes`` say. Of ``codes`` (B, r, 32), those from
    ``first_blocks[l]`` on are the cell's, a block for 32 of its items, and zeros behind its last
    one: so a query's products with all of them are computed fastest.
    """

    sketch: Sketch
    codes: NDArray[np.int8]
    rows: NDArray[np.int32]
    starts: NDArray[np.int64]
    centroids: Floats32
    spreads: Floats32
    steps: Floats32

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cells(self) -> int:
        """L."""
        return len(self.starts) - 1

    @cached_property
    def first_blocks(self) -> NDArray[np.int64]:
        """Where each cell's blocks of codes begin, and where the last one's end: (L + 1,)."""
        return _first_blocks(self.starts)

    @cached_property
    def grids(self) -> Floats32:
        """Each cell's centroid and steps, beside one another in memory: (L, 2, r)."""
        return np.ascontiguousarray(np.stack([self.centroids.T, self.steps.T], axis=1))

    @classmethod
    def build(cls, sketch: Sketch, sketches: Floats32) -> Partition:
        """Part the sketches (N, r) of all items; row n is item n."""
        count, rank = sketches.shape
        cell = _nearest(_centres(sketches, cells_for(count)), sketches)
        rows = np.argsort(cell, kind="stable").astype(np.int32)
        starts = np.searchsorted(cell, np.arange(cells_for(count) + 1), sorter=rows)
        first_blocks = _first_blocks(starts)
        codes = np.zeros((first_blocks[-1], rank, BLOCK_ITEMS), np.int8)
        centroids = np.zeros((rank, len(starts) - 1), np.float32)
        spreads, steps = np.zeros_like(centroids), np.zeros_like(centroids)
        for place, (first, last) in enumerate(pairwise(starts.tolist())):
            if first == last:
                continue
            block = sketches[rows[first:last]].T
            centroids[:, place] = block.mean(axis=1, dtype=np.float64)
            apart = block - centroids[:, place, None]
            spreads[:, place] = (apart**2).mean(axis=1, dtype=np.float64)
            steps[:, place] = np.abs(apart).max(axis=1) / _LARGEST_CODE
            apart /= np.maximum(steps[:, place, None], 1e-30)
            codes[first_blocks[place] : first_blocks[place + 1]] = in_blocks(np.rint(apart))
        return cls(sketch, codes, rows, starts.astype(np.int64), centroids, spreads, steps)

    def cell(self, place: int) -> tuple[NDArray[np.int32], Floats32]:
        """Return the items (B,) of a cell and their sketches (B, r), up to half a step."""
        first, last = self.starts[place : place + 2]
        blocks = self.codes[slice(*self.first_blocks[place : place + 2])]
        codes = blocks.swapaxes(1, 2).reshape(-1, len(self.centroids))[: last - first]
        return self.rows[first:last], self.centroids[:, place] + self.steps[:, place] * codes

    def promises(self, queries: Floats32) -> Iterator[Floats32]:
        """Yield what each cell promises a framed query (L,), query by query."""
        values, cells = np.empty(self.cells, np.float32), np.empty(self.cells, np.int64)
        for query in queries @ self.sketch.queries:
            best_cells(query, self.centroids, self.spreads, values, cells)
            promises = np.empty_like(values)
            promises[cells] = values
            yield promises

    def candidates(
        self, queries: Floats32, cells: int, count: int, admission: Admission | None
    ) -> tuple[NDArray[np.int64], Floats32]:
        """Return the ``count`` best of framed queries by sketch, in so many cells.

        Rows and their products, both (Q, C), best first; -1 and -inf at the end where the cells
        hold fewer.
        """
        sketched = queries @ self.sketch.queries
        mask = EVERYTHING if admission is None else admission.mask
        visited = np.empty(min(cells, self.cells), np.int64)
        promises = np.empty(len(visited), np.float32)
        rows = np.empty((len(queries), count), np.int64)
        products = np.empty(rows.shape, np.float32)
        for place, query in enumerate(sketched):
            best_cells(query, self.centroids, self.spreads, promises, visited)
            visit_cells(
                query,
                visited,
                self.grids,
                self.codes,
                self.first_blocks,
                self.starts,
                self.rows,
                mask,
                products[place],
                rows[place],
            )
        return rows, products


def in_blocks(codes: NDArray[Any]) -> NDArray[np.int8]:
    """Lay the codes of a cell's items (r, S) out in blocks: (B, r, 32), zeros behind the last."""
    rank, size = codes.shape
    flat = np.zeros((rank, -(-size // BLOCK_ITEMS) * BLOCK_ITEMS), np.int8)
    flat[:, :size] = codes
    return flat.reshape(rank, -1, BLOCK_ITEMS).swapaxes(0, 1)


def _first_blocks(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum([0, *-(-np.diff(starts) // BLOCK_ITEMS)])


def _centres(sketches: Floats32, cells: int) -> Any:
    """Return the means of so many cells as an index of FAISS', by k-means over a sample."""
    count, rank = sketches.shape
    rng = np.random.default_rng(_SEED)
    sample = np.sort(rng.choice(count, min(count, cells * _POINTS_PER_CELL), replace=False))
    means: Any = faiss.Kmeans(
        rank,
        cells,
        niter=_KMEANS_ROUNDS,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_PER_CELL,
    )
    means.train(sketches[sample])
    centres: Any = faiss.IndexFlatL2(rank)
    centres.add(means.centroids)
    return centres


def _nearest(centres: Any, sketches: Floats32) -> NDArray[np.int32]:
    """Return the nearest centre (N,) of each sketch (N, r)."""
    nearest = np.empty(len(sketches), np.int32)
    for first in range(0, len(sketches), _ROWS_AT_ONCE):
        block = sketches[first : first + _ROWS_AT_ONCE]
        nearest[first : first + len(block)] = centres.search(block, 1)[1][:, 0]
    return nearest


@dataclass(frozen=True, eq=False)
class SketchIndex:
    """See :class:`service.index.protocol.SearchIndex`; without a partition it scans all vectors."""

    frame: Frame
    vectors: HalfVectors
    partition: Partition | None
    effort: Effort

    def __len__(self) -> int:
        return len(self.vectors)

    def holds(self, rows: NDArray[np.int64], encodings: Encodings) -> bool:
        """Return whether the vectors of some rows are those of some encodings."""
        vectors = self.frame.items(encodings)
        return bool(
            np.array_equal(self.vectors.halves[rows].cpu().numpy(), vectors[:, :-1].astype("<f2"))
            and np.array_equal(self.vectors.constants[rows].cpu().numpy(), vectors[:, -1])
        )

    def propose(
        self,
        query: Encodings,
        count: int,
        *,
        weight: float,
        divergence_scale: float,
        admission: Admission | None = None,
        exact: bool = False,
    ) -> Proposals:
        """See the protocol."""
        queries, offset = self.frame.questions(
            query, weight=weight, divergence_scale=divergence_scale
        )
        admitted = len(self) if admission is None else admission.count
        count = min(count, admitted)
        if self.partition is None or exact or count > len(self) // 4:
            rows, products = self.vectors.scan(queries, count, admission)
            exhaustive = True
        elif admission is not None and admitted <= _FEW:
            everyone = np.tile(admission.rows, (len(query), 1))
            rows, products = self._second_look(queries, everyone, None, count)
            exhaustive = True
        else:
            effort = self._effort_for(count, admission)
            first = self._first_look(queries, effort, admission)
            rows, products = self._second_look(queries, *first, count)
            exhaustive = False
        return Proposals(rows, products.astype(np.float64) + offset[:, None], exhaustive)

    def _first_look(
        self, queries: Floats32, effort: Effort, admission: Admission | None
    ) -> tuple[NDArray[np.int64], Floats32 | None]:
        """Return candidates (Q, C) of framed queries by their sketches, and products if known."""
        assert self.partition is not None
        return self.partition.candidates(queries, effort.cells, effort.candidates, admission)

    def _effort_for(self, count: int, admission: Admission | None) -> Effort:
        """Look further where few are admitted, or where many of the best are hidden or wanted."""
        cells, candidates = self.effort.cells, max(self.effort.candidates, 2 * count)
        further = candidates / self.effort.candidates
        if admission is not None:
            further *= len(self) / max(admission.count, 1)
            further += admission.hidden / self.effort.candidates
        return Effort(round(min(cells * further, 1e9)), candidates)

    def _second_look(
        self,
        queries: Floats32,
        rows: NDArray[np.int64],
        expected: Floats32 | None,
        count: int,
    ) -> tuple[NDArray[np.int64], Floats32]:
        """Score candidates (Q, C) from their vectors and keep the ``count`` best of each query.

        ``expected`` (Q, C) are their products by sketch, largest first.
        """
        kept = np.empty((len(queries), count), np.int64)
        products = np.empty((len(queries), count), np.float32)
        for place, query in enumerate(queries):
            own = NOT_KNOWN if expected is None else expected[place]
            kept[place], products[place] = self.vectors.rank(query, rows[place], count, own)
        return kept, products


def cells_for(count: int) -> int:
    """Return how many cells part so many items: about four times the root, a power of two."""
    return int(2 ** round(np.log2(max(4 * np.sqrt(count), 16))))
