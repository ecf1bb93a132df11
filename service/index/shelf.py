"""A shelf: windows that can be searched, and whose they are.

It is made of segments, immutable each: what the snapshot holds, less what has changed since, and
beside it what came later. Rows and owners are numbered through all segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.ids import place_of
from service.index.protocol import Admission, SearchIndex
from service.index.traits import Traits


class EncodingRows(Protocol):
    """N encodings, wherever they lie."""

    @property
    def dimensions(self) -> int:
        """D."""

    def __len__(self) -> int:
        """N."""

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Encodings:
        """Return the encodings of the given rows, in their order."""

    def block(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
        """Return encodings side by side (N, 3, D), and where among them the given rows are (R,)."""


@dataclass(frozen=True, eq=False)
class Segment:
    """N encoded windows of M owners (tracks, or emotions), never changed after it is made.

    ``owner_ids`` (M,) are sorted, ``owners`` (N,) are positions in it and never decrease: the
    windows of one owner lie together, in their order. ``traits`` are those of the owners.
    """

    index: SearchIndex
    encodings: EncodingRows
    owners: NDArray[np.int32]
    owner_ids: NDArray[np.bytes_]
    starts_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    traits: Traits | None = None

    def __len__(self) -> int:
        return len(self.owners)

    def rows_of(self, owner_id: str) -> NDArray[np.int64]:
        """Return the rows of one owner's windows; none where it is not here."""
        place = place_of(self.owner_ids, owner_id)
        if place is None:
            return np.zeros(0, np.int64)
        first, last = np.searchsorted(self.owners, [place, place + 1])
        return np.arange(first, last)


@dataclass(frozen=True, eq=False)
class Shelf:
    """Segments beside one another; ``alive`` says of each which of its rows still count."""

    segments: tuple[Segment, ...]
    alive: tuple[Admission | None, ...]

    @classmethod
    def of(cls, segment: Segment) -> Self:
        """Make a shelf of one segment, all of it alive."""
        return cls((segment,), (None,))

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """Where each segment's rows begin, and where the last one's end."""
        return np.cumsum([0, *(len(segment) for segment in self.segments)])

    @cached_property
    def first_owners(self) -> NDArray[np.int64]:
        """Where each segment's owners begin, and where the last one's end."""
        return np.cumsum([0, *(len(segment.owner_ids) for segment in self.segments)])

    @cached_property
    def windows(self) -> int:
        """How many windows are alive."""
        return sum(
            len(segment) if alive is None else alive.count
            for segment, alive in zip(self.segments, self.alive, strict=True)
        )

    @cached_property
    def owner_count(self) -> int:
        """How many owners have windows that are alive."""
        return sum(
            len(segment.owner_ids) if alive is None else len(np.unique(segment.owners[alive.mask]))
            for segment, alive in zip(self.segments, self.alive, strict=True)
        )

    @property
    def dimensions(self) -> int:
        """D."""
        return self.segments[0].encodings.dimensions

    def take(self, rows: NDArray[np.int64]) -> Encodings:
        """Return the encodings of some rows, in their order."""
        if len(self.segments) == 1:
            return self.segments[0].encodings.take(rows)
        shape = (len(rows), self.dimensions)
        taken = Encodings(*(np.empty(shape, np.float64) for _ in range(3)))
        for number, places, own in self._by_segment(rows):
            part = self.segments[number].encodings.take(own)
            for name in ("embedding", "mean", "variance"):
                getattr(taken, name)[places] = getattr(part, name)
        return taken

    def owners_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the owners' numbers of some rows."""
        owners = np.empty(len(rows), np.int64)
        for number, places, own in self._by_segment(rows):
            owners[places] = self.segments[number].owners[own] + self.first_owners[number]
        return owners

    def owner_id(self, owner: int) -> str:
        """Return an owner's id by its number."""
        number, place = self._locate(owner, self.first_owners)
        return bytes(self.segments[number].owner_ids[place]).decode()

    def artist_of(self, owner: int) -> str | None:
        """Return an owner's artist by its number, None where none is known."""
        number, place = self._locate(owner, self.first_owners)
        traits = self.segments[number].traits
        return None if traits is None else traits.artist_of(place)

    def span_s(self, row: int) -> tuple[float, float]:
        """Return when a window starts and ends, in seconds."""
        number, place = self._locate(row, self.first_rows)
        segment = self.segments[number]
        return float(segment.starts_s[place]), float(segment.ends_s[place])

    def rows_of(self, owner_id: str) -> NDArray[np.int64]:
        """Return the rows of one owner's living windows; none where it is not here."""
        for number, (segment, alive) in enumerate(zip(self.segments, self.alive, strict=True)):
            rows = segment.rows_of(owner_id)
            if len(rows) and (alive is None or alive.mask[rows[0]]):
                here: NDArray[np.int64] = rows + self.first_rows[number]
                return here
        return np.zeros(0, np.int64)

    def owner_numbers(self, owner_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the numbers of those owners that are here, in any order."""
        found = []
        for number, segment in enumerate(self.segments):
            for owner_id in owner_ids:
                place = place_of(segment.owner_ids, owner_id)
                if place is not None:
                    found.append(place + int(self.first_owners[number]))
        return np.array(found, np.int64)

    def _locate(self, position: int, firsts: NDArray[np.int64]) -> tuple[int, int]:
        if len(self.segments) == 1:
            return 0, position
        number = int(np.searchsorted(firsts, position, side="right")) - 1
        return number, position - int(firsts[number])

    def _by_segment(
        self, rows: NDArray[np.int64]
    ) -> list[tuple[int, NDArray[np.intp] | slice, NDArray[np.int64]]]:
        """Return of each segment that is asked: its number, places in ``rows``, its own rows."""
        if len(self.segments) == 1:
            return [(0, slice(None), rows)]
        numbers = np.searchsorted(self.first_rows, rows, side="right") - 1
        return [
            (number, places, rows[places] - self.first_rows[number])
            for number in range(len(self.segments))
            if len(places := np.flatnonzero(numbers == number))
        ]
