"""The frame in which items are stored and compared: φ, column by column near zero and near one.

Taking a constant off an item's vector changes every score of a query by the same number, and a
scale of a column can be moved to the query. So both are free, and what is left has few digits
before the point: half precision and small sketches then lose little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.compiled import in_parallel, torch_sized_pool
from models.similarity import Encodings, item_vectors
from service.index.framing import frame_items, frame_queries

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

_SMALLEST_SCALE = 1e-6
_ROWS_AT_ONCE = 512  # whose doubles stay in the cache


@dataclass(frozen=True, eq=False)
class Frame:
    """``shift`` (D,) is the c of φ and ψ; ``centre`` and ``scale`` (3D + 1,) those of φ's columns.

    See :func:`models.similarity.item_vectors` and design.md, section 4.
    """

    shift: Floats64
    centre: Floats64
    scale: Floats64

    @classmethod
    def of(cls, items: Encodings) -> Self:
        """Choose a frame for items like these (N, D); any will do where there are none."""
        dimensions = items.dimensions
        columns = 3 * dimensions + 1
        if len(items) == 0:
            return cls(np.zeros(dimensions), np.zeros(columns), np.ones(columns))
        shift = items.mean.mean(axis=0, dtype=np.float64)
        vectors = item_vectors(items, shift).astype(np.float64)
        scale = vectors.std(axis=0)
        return cls(shift, vectors.mean(axis=0), np.where(scale > _SMALLEST_SCALE, scale, 1.0))

    @property
    def dimensions(self) -> int:
        """D."""
        return len(self.shift)

    def items(self, encodings: Encodings) -> Floats32:
        """Write items in this frame: (N, 3D + 1).

        φ of :func:`models.similarity.item_vectors`, its columns centred and scaled.
        """
        vectors = np.empty((len(encodings), len(self.scale)), np.float32)

        def write(first: int) -> None:
            part = slice(first, first + _ROWS_AT_ONCE)
            frame_items(
                encodings.embedding[part].astype(np.float64),
                encodings.mean[part].astype(np.float64),
                encodings.variance[part].astype(np.float64),
                self.shift,
                self.centre,
                self.scale,
                vectors[part],
            )

        in_parallel(write, range(0, len(encodings), _ROWS_AT_ONCE), torch_sized_pool())
        return vectors

    def queries(self, query: Encodings, *, weight: float, divergence_scale: float) -> Floats32:
        """Write queries (Q, 3D + 1) so that their products with items rank as the similarity."""
        return self.questions(query, weight=weight, divergence_scale=divergence_scale)[0]

    def questions(
        self, query: Encodings, *, weight: float, divergence_scale: float
    ) -> tuple[Floats32, Floats64]:
        """Return :meth:`queries` and what a product lacks to be the similarity, (Q,).

        ψ of :func:`models.similarity.query_vectors`, its columns scaled.
        """
        vectors = np.empty((len(query), len(self.scale)), np.float32)
        offset = np.empty(len(query))
        frame_queries(
            query.embedding.astype(np.float64),
            query.mean.astype(np.float64),
            query.variance.astype(np.float64),
            weight,
            (1 - weight) * divergence_scale,
            self.shift,
            self.centre,
            self.scale,
            vectors,
            offset,
        )
        return vectors, offset

    def encodings(self, framed: NDArray[np.floating]) -> Encodings:
        """Read items back from their framed vectors (N, 3D): the inverse of :meth:`items`.

        The embedding comes back centred and of unit length, which is all that ρ sees of it.
        """
        columns = 3 * self.dimensions
        vectors = framed.astype(np.float64) * self.scale[:columns] + self.centre[:columns]
        embedding, precision, mean = np.split(vectors, 3, axis=1)
        return Encodings(embedding, mean / precision + self.shift, 1 / precision)
