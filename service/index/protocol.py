"""What a search engine must do, so that a second one can stand beside FAISS.

An engine only proposes: the scores and the order that a caller sees are computed from the stored
encodings (:mod:`service.ranking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.traits import TrackFilter

NOTHING = -1
"""The row of a proposal that is none, where a query has fewer than the others."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """The best candidates of each of Q queries, best first.

    ``rows`` (Q, C) are item rows, :data:`NOTHING` at the end where there are fewer; ``scores``
    (Q, C) float64 are their composite similarities as the engine sees them, near the true ones,
    -inf for nothing. ``exhaustive``: what is not proposed scores no higher, up to that error.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    exhaustive: bool


@dataclass(frozen=True, eq=False)
class Admission:
    """Which of N items may be proposed: ``mask`` (N,).

    ``hidden`` counts items that are left out because they are known to be close (answers that a
    caller has seen): an approximate engine must look further by as many. ``wanted`` is the filter
    that the mask was made of, for an engine that filters by itself; the mask may say no to more.
    """

    mask: NDArray[np.bool_]
    hidden: int = 0
    wanted: TrackFilter | None = None

    @cached_property
    def count(self) -> int:
        """How many items may be proposed."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The items that may be proposed."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask with eight items a byte, the first one lowest."""
        return np.packbits(self.mask, bitorder="little")


class SearchIndex(Protocol):
    """Proposes the items that a query's composite similarity may rank highest."""

    def __len__(self) -> int:
        """Return how many items there are."""

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
        """Propose the ``count`` best items (or all that may be) for each query.

        ``exact`` asks for an exhaustive search.
        """
