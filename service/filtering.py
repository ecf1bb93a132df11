"""From what a caller asks for to which rows of each segment may be proposed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from service.index.protocol import Admission
from service.index.shelf import Shelf
from service.index.traits import TrackFilter
from service.ranking import Choice

_REMEMBERED = 16
_EXCLUDED_LATER = 32
"""So few excluded tracks are left out of the answers; of more, the index must not propose any."""


class Filters:
    """The choices that a shelf's callers made last, each worked out once."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._known: OrderedDict[TrackFilter, tuple[Admission | None, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def choice(
        self,
        wanted: TrackFilter | None = None,
        excluded_ids: Collection[str] = (),
        max_per_artist: int | None = None,
    ) -> Choice:
        """Return which owners may be answers."""
        admissions = self._shelf.alive if wanted is None else self._admissions(wanted)
        excluded = self._shelf.owner_numbers(sorted(excluded_ids))
        if len(excluded) > _EXCLUDED_LATER:
            admissions = self._without(admissions, excluded)
        return Choice(admissions, frozenset(excluded.tolist()), max_per_artist)

    def _admissions(self, wanted: TrackFilter) -> tuple[Admission | None, ...]:
        with self._lock:
            if wanted in self._known:
                self._known.move_to_end(wanted)
                return self._known[wanted]
        admissions = []
        for segment, alive in zip(self._shelf.segments, self._shelf.alive, strict=True):
            if segment.traits is None:
                raise ValueError("these owners have nothing to be filtered by")
            mask = segment.traits.admitted(wanted)[segment.owners]
            living = mask if alive is None else mask & alive.mask
            admissions.append(Admission(living, wanted=wanted))
        with self._lock:
            self._known[wanted] = tuple(admissions)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return tuple(admissions)

    def _without(
        self,
        admissions: tuple[Admission | None, ...],
        excluded: NDArray[np.int64],
    ) -> tuple[Admission | None, ...]:
        kept: list[Admission | None] = []
        for number, (segment, admission) in enumerate(
            zip(self._shelf.segments, admissions, strict=True)
        ):
            mask = np.ones(len(segment), np.bool_) if admission is None else admission.mask.copy()
            first, last = self._shelf.first_owners[number : number + 2]
            own = excluded[(excluded >= first) & (excluded < last)] - first
            begins = np.searchsorted(segment.owners, own)
            ends = np.searchsorted(segment.owners, own, side="right")
            hidden = 0
            for begin, end in zip(begins, ends, strict=True):
                hidden += int(np.count_nonzero(mask[begin:end]))
                mask[begin:end] = False
            wanted = None if admission is None else admission.wanted
            kept.append(Admission(mask, hidden, wanted))
        return tuple(kept)
