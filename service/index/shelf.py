"""A shelf: windows that can be searched, and whose they are."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.protocol import SearchIndex


@dataclass(frozen=True, eq=False)
class Shelf:
    """N encoded windows of M owners (tracks, or emotions), never changed after it is made.

    ``owner_ids`` are sorted, ``owners`` (N,) are positions in it and never decrease: the windows of
    one owner lie together, in their order.
    """

    index: SearchIndex
    encodings: Encodings
    owners: NDArray[np.int32]
    owner_ids: list[str]
    starts_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]

    def rows_of(self, owner_id: str) -> NDArray[np.int64]:
        """Return the rows of one owner's windows; none where it is not here."""
        place = bisect_left(self.owner_ids, owner_id)
        if place == len(self.owner_ids) or self.owner_ids[place] != owner_id:
            return np.zeros(0, np.int64)
        first, last = np.searchsorted(self.owners, [place, place + 1])
        return np.arange(first, last)
