"""An exhaustive float32 search in memory: the composite similarity as one inner product.

For what is small or changes: emotions, and tracks that came after the snapshot was made.
"""

from __future__ import annotations

from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings, item_vectors, query_offset, query_vectors
from service.index.protocol import Admission, Proposals

_ITEMS_AT_ONCE = 8_192


class FlatIndex:
    """See :class:`service.index.protocol.SearchIndex`: nothing but float32 rounding is lost."""

    def __init__(self, index: Any, shift: NDArray[np.float64]) -> None:
        self._index = index
        self._shift = shift

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, items: Encodings) -> Self:
        """Index items block by block, so that no second copy of all of them is made."""
        shift = (
            items.mean.mean(axis=0, dtype=np.float64) if len(items) else np.zeros(items.dimensions)
        )
        index = faiss.IndexFlatIP(3 * items.dimensions + 1)
        for first in range(0, len(items), _ITEMS_AT_ONCE):
            block = np.arange(first, min(first + _ITEMS_AT_ONCE, len(items)))
            index.add(item_vectors(items.take(block), shift))
        return cls(index, shift)

    def propose(
        self,
        query: Encodings,
        count: int,
        *,
        weight: float,
        divergence_scale: float,
        admission: Admission | None = None,
        exact: bool = False,  # noqa: ARG002  it always is
    ) -> Proposals:
        """See the protocol."""
        scales = {"weight": weight, "divergence_scale": divergence_scale}
        vectors = query_vectors(query, self._shift, **scales)
        offset = query_offset(query, **scales)
        parameters: Any = None
        if admission is not None:
            chosen = faiss.IDSelectorBitmap(len(admission.bits), faiss.swig_ptr(admission.bits))
            parameters = faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]
        products, rows = self._index.search(vectors, min(count, len(self)), params=parameters)
        scores = np.where(rows < 0, -np.inf, products.astype(np.float64) + offset[:, None])
        return Proposals(rows, scores, exhaustive=True)
