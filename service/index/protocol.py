"""What a search engine must do, so that a second one can stand beside FAISS.

An engine only proposes: the scores and the order that a caller sees are computed from the stored
encodings (:mod:`service.ranking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings


@dataclass(frozen=True, eq=False)
class Proposals:
    """The best candidates of each of Q queries, best first.

    ``rows`` (Q, C) are item rows; ``scores`` (Q, C) float64 are their composite similarities as the
    engine sees them, near the true ones. What is not proposed scores no higher, up to that error.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


class SearchIndex(Protocol):
    """Proposes the items that a query's composite similarity may rank highest."""

    def __len__(self) -> int:
        """Return how many items there are."""

    def propose(
        self, query: Encodings, count: int, *, weight: float, divergence_scale: float
    ) -> Proposals:
        """Propose the ``count`` best items (or all there are) for each query."""

    def save(self, file: Path) -> None:
        """Write the index to one file."""

    @classmethod
    def build(cls, items: Encodings, shift: NDArray[np.float64]) -> Self:
        """Index items; ``shift`` (D,) is a constant near their means."""

    @classmethod
    def load(cls, file: Path, shift: NDArray[np.float64]) -> Self:
        """Read what :meth:`save` wrote; ``shift`` is the one it was built with."""
