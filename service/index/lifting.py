"""Inner products as distances: the form that a graph of neighbours can be searched in.

The item of the largest inner product is the nearest one in r + 1 dimensions, where each item gets a
last coordinate that brings it to one and the same length and each query a zero there (Bachrach et
al., "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product
spaces", RecSys 2014). A graph built on inner products themselves leads past many of the best
sketches (docs/decisions/0011-milvus.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.index.frame import Floats32
from service.index.partition import Partition


@dataclass(frozen=True, eq=False)
class Lift:
    """``centre`` (r,) is taken off items, which adds one number to all scores of a query.

    ``length`` is what items have in the root mean square; a query is brought to it.
    """

    centre: NDArray[np.float64]
    length: float

    @classmethod
    def of(cls, partition: Partition) -> Lift:
        """Read both off a partition's cells."""
        sizes = np.diff(partition.starts) / max(len(partition), 1)
        centroids = partition.centroids.astype(np.float64)
        centre = centroids @ sizes
        square = float(((centroids - centre[:, None]) ** 2 + partition.spreads).sum(axis=0) @ sizes)
        return cls(centre, float(np.sqrt(square)) or 1.0)

    def items(self, sketches: Floats32, longest: float) -> Floats32:
        """Lift sketches (B, r) to (B, r + 1), all of the length ``longest``."""
        apart = sketches - self.centre
        rest = np.maximum(longest**2 - (apart**2).sum(axis=1, keepdims=True), 0)
        return np.hstack([apart, np.sqrt(rest)]).astype(np.float32)

    def queries(self, sketched: Floats32) -> Floats32:
        """Lift sketched queries (Q, r) to (Q, r + 1)."""
        lengths = np.maximum(np.linalg.norm(sketched, axis=1, keepdims=True), 1e-30)
        scaled = sketched * (self.length / lengths)
        return np.hstack([scaled, np.zeros((len(scaled), 1))]).astype(np.float32)

    def longest(self, partition: Partition) -> float:
        """Return the largest length of a centred sketch."""
        squares = (
            float(((sketches - self.centre) ** 2).sum(axis=1).max())
            for _, sketches in sketch_blocks(partition, 1 << 16)
        )
        return float(np.sqrt(max(squares, default=0.0)))


def sketch_blocks(
    partition: Partition, rows_at_once: int
) -> Iterator[tuple[NDArray[np.int64], Floats32]]:
    """Yield rows (B,) and their sketches (B, r), cell by cell, always in the same order."""
    held: list[tuple[NDArray[np.int64], Floats32]] = []
    waiting = 0
    for place in range(partition.cells):
        rows, sketches = partition.cell(place)
        held.append((rows.astype(np.int64), sketches))
        waiting += len(rows)
        if waiting >= rows_at_once:
            whole, waiting = _joined(held), waiting % rows_at_once
            full = len(whole[0]) - waiting
            for first in range(0, full, rows_at_once):
                part = slice(first, first + rows_at_once)
                yield whole[0][part], whole[1][part]
            held = [(whole[0][full:], whole[1][full:])]
    if waiting:
        yield _joined(held)


def _joined(
    parts: list[tuple[NDArray[np.int64], Floats32]],
) -> tuple[NDArray[np.int64], Floats32]:
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([each for _, each in parts])
