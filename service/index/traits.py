"""What tracks can be filtered by: artist, tempo, tags, as arrays in the order of the tracks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.index.ids import place_of

UNKNOWN = -1


@dataclass(frozen=True)
class TrackFilter:
    """What a track must be: by one of ``artists``, have all ``tags``, a tempo within bounds.

    Names are compared as :func:`folded` writes them. A track whose tempo is not known is outside
    every bound.
    """

    artists: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    bpm_low: float | None = None
    bpm_high: float | None = None


@dataclass(frozen=True, eq=False)
class Traits:
    """Of M tracks: ``artists`` (M,) places in ``artist_names``, ``bpm`` (M,), NaN where unknown.

    The tags of track m are ``tag_places[tag_starts[m]:tag_starts[m + 1]]``, places in
    ``tag_names``. Names are sorted, as :func:`folded` writes them.
    """

    artists: NDArray[np.int32]
    artist_names: Sequence[str]
    bpm: NDArray[np.float32]
    tag_starts: NDArray[np.int64]
    tag_places: NDArray[np.int32]
    tag_names: Sequence[str]

    @classmethod
    def of(
        cls,
        owner_ids: NDArray[np.bytes_],
        known: Iterable[tuple[str, str | None, float | None]],
        tagged: Iterable[tuple[str, str]],
    ) -> Self:
        """Arrange (track id, artist, bpm) and (track id, tag) by sorted ids; others are left."""
        artist_of: list[tuple[int, str]] = []
        bpm = np.full(len(owner_ids), np.nan, np.float32)
        for track_id, artist, tempo in known:
            place = place_of(owner_ids, track_id)
            if place is None:
                continue
            if artist is not None and folded(artist):
                artist_of.append((place, folded(artist)))
            if tempo is not None:
                bpm[place] = tempo
        artist_names = sorted({name for _, name in artist_of})
        numbers = {name: number for number, name in enumerate(artist_names)}
        artists = np.full(len(owner_ids), UNKNOWN, np.int32)
        for place, name in artist_of:
            artists[place] = numbers[name]
        tags = sorted(
            (place, folded(tag))
            for track_id, tag in tagged
            if (place := place_of(owner_ids, track_id)) is not None
        )
        tag_names = sorted({tag for _, tag in tags})
        tag_numbers: Mapping[str, int] = {name: number for number, name in enumerate(tag_names)}
        counts = np.bincount([place for place, _ in tags], minlength=len(owner_ids))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.array([tag_numbers[tag] for _, tag in tags], np.int32)
        return cls(artists, artist_names, bpm, starts, places, tag_names)

    def __len__(self) -> int:
        return len(self.artists)

    def artist_of(self, owner: int) -> str | None:
        """Return a track's artist, None where it is not known."""
        number = int(self.artists[owner])
        return None if number == UNKNOWN else self.artist_names[number]

    def artist_numbers(self, names: Sequence[str]) -> list[int]:
        """Return the places in ``artist_names`` of those names that are there."""
        return _numbers(self.artist_names, names)

    def tag_numbers(self, names: Sequence[str]) -> list[int]:
        """Return the places in ``tag_names`` of those names that are there."""
        return _numbers(self.tag_names, names)

    def admitted(self, wanted: TrackFilter) -> NDArray[np.bool_]:
        """Return which tracks (M,) a filter lets through."""
        mask = np.ones(len(self), np.bool_)
        if wanted.artists:
            mask &= np.isin(self.artists, _numbers(self.artist_names, wanted.artists))
        if wanted.bpm_low is not None:
            mask &= self.bpm >= wanted.bpm_low
        if wanted.bpm_high is not None:
            mask &= self.bpm <= wanted.bpm_high
        for tag in wanted.tags:
            entries = np.flatnonzero(np.isin(self.tag_places, _numbers(self.tag_names, [tag])))
            tagged = np.zeros(len(self), np.bool_)
            tagged[np.searchsorted(self.tag_starts, entries, side="right") - 1] = True
            mask &= tagged
        return mask


def folded(name: str) -> str:
    """Write a name as it is compared: without its case and the white space around it."""
    return name.casefold().strip()


def _numbers(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    found = []
    for name in map(folded, wanted):
        place = bisect_left(names, name)
        if place < len(names) and names[place] == name:
            found.append(place)
    return found
