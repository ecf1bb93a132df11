"""An approximate search: sketches in an inverted file (FAISS), then a second, closer look.

Sketches are parted by k-means. A query visits the cells that promise most: those whose centroid
scores high for it, and more so where the cell spreads in the query's direction. What the cells hold
is scored by sketches, the best few hundred again from the vectors in half precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.frame import Floats32, Frame
from service.index.protocol import NOTHING, Admission, Proposals
from service.index.sketch import Sketch
from service.index.vectors import HalfVectors

_SPREAD_WEIGHT = 1.0
_FEW = 4_096  # so few items are scored one and all
_KMEANS_ROUNDS = 8
_POINTS_PER_CELL = 48
_SEED = 1


@dataclass(frozen=True)
class Effort:
    """How far a search looks: cells visited, and candidates that are looked at twice."""

    cells: int
    candidates: int


@dataclass(frozen=True, eq=False)
class Partition:
    """Sketches in cells: ``lists`` as FAISS keeps them, ``centroids`` and ``spreads`` (L, r)."""

    sketch: Sketch
    lists: Any
    centroids: Floats32
    spreads: Floats32

    @classmethod
    def build(cls, sketch: Sketch, sketches: Floats32) -> Partition:
        """Part the sketches (N, r) of all items; row n gets the id n."""
        count, rank = sketches.shape
        cells = cells_for(count)
        rng = np.random.default_rng(_SEED)
        most = min(count, cells * _POINTS_PER_CELL)
        sample = sketches[np.sort(rng.choice(count, most, replace=False))]
        means: Any = faiss.Kmeans(
            rank,
            cells,
            niter=_KMEANS_ROUNDS,
            seed=_SEED,
            min_points_per_centroid=1,
            max_points_per_centroid=_POINTS_PER_CELL,
        )
        means.train(np.ascontiguousarray(sample))
        quantizer: Any = faiss.IndexFlatL2(rank)
        centres: Floats32 = means.centroids
        quantizer.add(centres)
        lists: Any = faiss.IndexIVFFlat(quantizer, rank, cells, faiss.METRIC_INNER_PRODUCT)
        lists.is_trained = True
        sizes = np.zeros((cells, 1))
        sums, squares = np.zeros((cells, rank)), np.zeros((cells, rank))
        for first in range(0, count, 1 << 17):
            block = np.ascontiguousarray(sketches[first : first + (1 << 17)])
            cell: NDArray[np.int64] = np.ravel(quantizer.search(block, 1)[1])
            ids = np.arange(first, first + len(block))
            lists.add_core(
                len(block), faiss.swig_ptr(block), faiss.swig_ptr(ids), faiss.swig_ptr(cell)
            )
            sizes[:, 0] += np.bincount(cell, minlength=cells)
            for column in range(rank):
                values: NDArray[np.float64] = block[:, column].astype(np.float64)
                sums[:, column] += np.bincount(cell, values, cells)
                squares[:, column] += np.bincount(cell, values**2, cells)
        filled = np.maximum(sizes, 1)
        centroids = np.where(sizes > 0, sums / filled, centres)
        spreads = np.maximum(squares / filled - centroids**2, 0)
        return cls(sketch, lists, centroids.astype(np.float32), spreads.astype(np.float32))

    def candidates(
        self, queries: Floats32, cells: int, count: int, admission: Admission | None
    ) -> NDArray[np.int64]:
        """Return the ``count`` best rows (Q, C) of framed queries by sketch, in so many cells."""
        sketched = queries @ self.sketch.queries
        promise = sketched @ self.centroids.T
        promise += _SPREAD_WEIGHT * np.sqrt((sketched**2) @ self.spreads.T)
        cells = min(cells, promise.shape[1])
        if cells == promise.shape[1]:
            visited = np.argsort(-promise, axis=1)
        else:
            visited = np.argpartition(-promise, cells - 1, axis=1)[:, :cells]
        return self._visit(
            np.ascontiguousarray(sketched), np.ascontiguousarray(visited), count, admission
        )

    def _visit(
        self,
        sketched: Floats32,
        visited: NDArray[np.int64],
        count: int,
        admission: Admission | None,
    ) -> NDArray[np.int64]:
        """Return the ``count`` best rows (Q, C) of sketched queries in the cells (Q, V)."""
        chosen: Any = None
        if admission is not None:
            chosen = faiss.IDSelectorBitmap(len(admission.bits), faiss.swig_ptr(admission.bits))
        # Its stub knows no keywords, which it takes, and with which it keeps the selector alive.
        parameters = faiss.SearchParametersIVF(  # type: ignore[call-arg]
            nprobe=visited.shape[1], sel=chosen
        )
        rows = np.empty((len(sketched), count), np.int64)
        products = np.empty((len(sketched), count), np.float32)
        promised = np.zeros(visited.shape, np.float32)
        # FAISS' own wrapper of this method takes no parameters, the method itself does.
        self.lists.search_preassigned_c(
            len(sketched),
            faiss.swig_ptr(sketched),
            count,
            faiss.swig_ptr(visited),
            faiss.swig_ptr(promised),
            faiss.swig_ptr(products),
            faiss.swig_ptr(rows),
            False,
            parameters,
        )
        return rows


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
            everyone = np.broadcast_to(admission.rows, (len(query), admitted))
            rows, products = self._second_look(queries, everyone, count)
            exhaustive = True
        else:
            effort = self._effort_for(count, admission)
            first = self._first_look(queries, effort, admission)
            rows, products = self._second_look(queries, first, count)
            exhaustive = False
        return Proposals(rows, products.astype(np.float64) + offset[:, None], exhaustive)

    def _first_look(
        self, queries: Floats32, effort: Effort, admission: Admission | None
    ) -> NDArray[np.int64]:
        """Return candidates (Q, C) of framed queries by their sketches."""
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
        self, queries: Floats32, rows: NDArray[np.int64], count: int
    ) -> tuple[NDArray[np.int64], Floats32]:
        """Score candidates (Q, C) from their vectors and keep the ``count`` best of each query."""
        kept = np.full((len(queries), count), NOTHING, np.int64)
        products = np.full((len(queries), count), -np.inf, np.float32)
        for place, query in enumerate(queries):
            real = rows[place][rows[place] >= 0]
            scores = self.vectors.rescore(query, real)
            order = np.argsort(-scores)[:count]
            kept[place, : len(order)] = real[order]
            products[place, : len(order)] = scores[order]
        return kept, products


def cells_for(count: int) -> int:
    """Return how many cells part so many items: about four times the root, a power of two."""
    return int(2 ** round(np.log2(max(4 * np.sqrt(count), 16))))
