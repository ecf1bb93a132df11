"""An exhaustive float32 search with FAISS: the composite similarity as one inner product."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings, item_vectors, query_offset, query_vectors
from service.index.protocol import Proposals

_ITEMS_AT_ONCE = 8_192


class FlatIndex:
    """See :class:`service.index.protocol.SearchIndex`: nothing but float32 rounding is lost."""

    code_format = "faiss-flat-ip-1"

    def __init__(self, index: Any, shift: NDArray[np.float64]) -> None:
        self._index = index
        self._shift = shift

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, items: Encodings, shift: NDArray[np.float64]) -> Self:
        """Index items block by block, so that no second copy of all of them is made."""
        index = faiss.IndexFlatIP(3 * items.dimensions + 1)
        for first in range(0, len(items), _ITEMS_AT_ONCE):
            block = np.arange(first, min(first + _ITEMS_AT_ONCE, len(items)))
            index.add(item_vectors(items.take(block), shift))
        return cls(index, shift)

    def propose(
        self, query: Encodings, count: int, *, weight: float, divergence_scale: float
    ) -> Proposals:
        """See the protocol."""
        vectors = query_vectors(
            query, self._shift, weight=weight, divergence_scale=divergence_scale
        )
        offset = query_offset(query, weight=weight, divergence_scale=divergence_scale)
        products, rows = self._index.search(vectors, min(count, len(self)))
        return Proposals(rows, products.astype(np.float64) + offset[:, None])

    def save(self, file: Path) -> None:
        """See the protocol."""
        faiss.write_index(self._index, str(file))

    @classmethod
    def load(cls, file: Path, shift: NDArray[np.float64]) -> Self:
        """See the protocol; the caller has verified the file's checksum."""
        return cls(faiss.read_index(str(file)), shift)
