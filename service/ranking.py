"""The k best owners for a query: float64 scores by definition, whatever proposed them.

An owner (a track, an emotion) scores by its best (query window, item window) pair. The search index
proposes candidates for each query window; their pairs are scored in float64 from the stored
encodings. Where the index searches exhaustively, every pair that was *not* proposed scores below
the last proposal of its query window, up to the index's rounding: as soon as the k-th answer scores
above all of those, the answer is the one that an exhaustive search gives; until then four times as
many candidates are asked for. So it goes with an approximate index up to 64 candidates, beyond
which it is asked again only for want of answers. In the same way few of a window's candidates are
scored first, and the others only where they might count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings, composite
from service.index.pairs import score_pairs
from service.index.protocol import Admission
from service.index.shelf import EncodingRows, Segment, Shelf

Floats64 = NDArray[np.float64]

_PAIRS_AT_ONCE = 1_024
_FIRST_CANDIDATES = 16
_ENOUGH_CANDIDATES = 64
"""Half precision had an answer at place 41, of ten million windows."""

_CANDIDATES_PER_RESULT = 3
_MORE_CANDIDATES = 4
_SPARE = 5
_ERROR_MARGIN = 4.0
"""The index's largest error seen on the candidates, times this, bounds the error elsewhere."""


class Hit(NamedTuple):
    """One owner and its best pair: ``row`` on the shelf, ``query_row`` of the query."""

    owner_id: str
    row: int
    query_row: int
    score: float
    correlation: float
    kl_divergence: float


@dataclass(frozen=True, eq=False)
class Choice:
    """Which owners may be answers.

    ``admissions`` say it of each segment's rows (None: all); ``excluded`` are owners' numbers.
    At most ``max_per_artist`` tracks of one artist are taken, the best ones; a track whose artist
    is not known shares it with none.
    """

    admissions: Sequence[Admission | None]
    excluded: Collection[int] = field(default=frozenset())
    max_per_artist: int | None = None


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Scored pairs as parallel arrays (P,)."""

    query_rows: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: Floats64
    correlations: Floats64
    divergences: Floats64

    def take(self, places: NDArray[np.int64]) -> _Pairs:
        return _Pairs(
            self.query_rows[places],
            self.rows[places],
            self.scores[places],
            self.correlations[places],
            self.divergences[places],
        )

    def moved(self, first_row: int) -> _Pairs:
        rows = self.rows + first_row
        return _Pairs(self.query_rows, rows, self.scores, self.correlations, self.divergences)

    @classmethod
    def joined(cls, parts: Sequence[_Pairs]) -> _Pairs:
        if len(parts) == 1:
            return parts[0]
        whole = np.zeros(0, np.int64)
        none = cls(whole, whole, np.zeros(0), np.zeros(0), np.zeros(0))
        columns = (
            np.concatenate([getattr(part, name) for part in (none, *parts)])
            for name in ("query_rows", "rows", "scores", "correlations", "divergences")
        )
        return cls(*columns)


def rank(
    shelf: Shelf,
    query: Encodings,
    k: int,
    *,
    weight: float,
    divergence_scale: float,
    choice: Choice | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Return the up to ``k`` best owners, best first; equal scores are ordered by id.

    ``exact`` lets no index approximate.
    """
    choice = choice or Choice(shelf.alive)
    scales = {"weight": weight, "divergence_scale": divergence_scale}
    count = max(_FIRST_CANDIDATES, _CANDIDATES_PER_RESULT * k)
    offers = list(_offers(shelf, query, count, scales, choice.admissions, exact=exact))
    found = _scored(query, offers, [_first_places(offer, k) for offer in offers], scales)
    hits = _choose(shelf, found.pairs, k, choice)
    while not (found.everything or (len(hits) == k and hits[-1].score > found.horizon)):
        if found.scored_all:
            count *= _MORE_CANDIDATES
            offers = list(_offers(shelf, query, count, scales, choice.admissions, exact=exact))
        found = _scored(query, offers, [len(offer.rows) for offer in offers], scales)
        hits = _choose(shelf, found.pairs, k, choice)
    return hits


@dataclass(frozen=True, eq=False)
class _Offer:
    """What a segment's index proposes, (P,) each: window by window of the query, best first.

    ``expected`` are the scores as the index sees them. What it left out scores at most ``last``, up
    to its error; of an approximate one that proposed enough nothing is said: -inf.
    ``everything``: nothing was left out.
    """

    segment: Segment
    first_row: int
    query_rows: NDArray[np.int64]
    rows: NDArray[np.int64]
    expected: Floats64
    last: float
    everything: bool


def _offers(
    shelf: Shelf,
    query: Encodings,
    count: int,
    scales: dict[str, float],
    admissions: Sequence[Admission | None],
    *,
    exact: bool,
) -> Iterator[_Offer]:
    for number, (segment, admission) in enumerate(zip(shelf.segments, admissions, strict=True)):
        available = len(segment) if admission is None else admission.count
        if available == 0:
            continue
        proposals = segment.index.propose(query, count, **scales, admission=admission, exact=exact)
        real = proposals.rows >= 0
        yield _Offer(
            segment,
            int(shelf.first_rows[number]),
            np.repeat(np.arange(len(query)), real.sum(axis=1)),
            proposals.rows[real],
            proposals.scores[real],
            float(proposals.scores[:, -1].max())
            if proposals.exhaustive or count < _ENOUGH_CANDIDATES
            else -np.inf,
            proposals.exhaustive and count >= available,
        )


def _first_places(offer: _Offer, k: int) -> int:
    """Return how many of a window's candidates hold k owners and a few more; all of several's."""
    if offer.query_rows[-1:].any():
        return len(offer.rows)
    seen: set[int] = set()
    for place, owner in enumerate(offer.segment.owners[offer.rows].tolist()):
        seen.add(owner)
        if len(seen) == k:
            return min(place + 1 + max(_SPARE, k // 2), len(offer.rows))
    return len(offer.rows)


@dataclass(frozen=True, eq=False)
class _Found:
    """Scored candidates; what was left out scores at most ``horizon``, if that can be said.

    ``scored_all`` candidates were scored; ``everything``: nor did an index leave any out.
    """

    pairs: _Pairs
    horizon: float
    scored_all: bool
    everything: bool


def _scored(
    query: Encodings,
    offers: Sequence[_Offer],
    limits: Sequence[int],
    scales: dict[str, float],
) -> _Found:
    """Score so many of what each segment offers."""
    parts: list[_Pairs] = []
    horizon, scored_all, everything = -np.inf, True, True
    for offer, limit in zip(offers, limits, strict=True):
        rows, query_rows = offer.rows[:limit], offer.query_rows[:limit]
        pairs = _score(offer.segment.encodings, query, query_rows, rows, **scales)
        parts.append(pairs.moved(offer.first_row))
        best_left = offer.last
        if limit < len(offer.rows):
            scored_all, best_left = False, float(offer.expected[limit])
        elif offer.everything:
            continue
        everything = False
        error = float(np.abs(offer.expected[:limit] - pairs.scores).max(initial=0.0))
        horizon = max(horizon, best_left + _ERROR_MARGIN * error)
    return _Found(_Pairs.joined(parts), horizon, scored_all, everything)


def _score(
    encodings: EncodingRows,
    query: Encodings,
    query_rows: NDArray[np.int64],
    rows: NDArray[np.int64],
    weight: float,
    divergence_scale: float,
) -> _Pairs:
    """Score pairs by the definition in float64.

    A pair has the same bits in any company, so that equal items tie.
    """
    correlations, divergences = np.empty(len(rows)), np.empty(len(rows))
    asked = (
        query.embedding.astype(np.float64),
        query.mean.astype(np.float64),
        query.variance.astype(np.float64),
    )
    for first in range(0, len(rows), _PAIRS_AT_ONCE):
        part = slice(first, first + _PAIRS_AT_ONCE)
        items = encodings.block(rows[part])
        score_pairs(*asked, query_rows[part], *items, correlations[part], divergences[part])
    scores = composite(correlations, divergences, weight=weight, divergence_scale=divergence_scale)
    return _Pairs(query_rows, rows, scores, correlations, divergences)


def _choose(shelf: Shelf, pairs: _Pairs, k: int, choice: Choice) -> list[Hit]:
    """Take the first k owners that may be answers, each with its best pair.

    They are in the order of their scores, then of their ids.
    """
    owners = shelf.owners_of(pairs.rows)
    order = np.lexsort((pairs.rows, pairs.query_rows, owners, -pairs.scores))
    ranked: dict[int, int] = {}
    for place, owner in zip(order.tolist(), owners[order].tolist(), strict=True):
        ranked.setdefault(owner, place)
    taken: dict[str, int] = {}
    chosen: list[tuple[str, int]] = []
    for owner, place in _ties_by_id(shelf, ranked, pairs.scores):
        if len(chosen) == k:
            break
        if owner in choice.excluded:
            continue
        if choice.max_per_artist is not None and (artist := shelf.artist_of(owner)) is not None:
            if taken.get(artist, 0) >= choice.max_per_artist:
                continue
            taken[artist] = taken.get(artist, 0) + 1
        chosen.append((shelf.owner_id(owner), place))
    best = pairs.take(np.array([place for _, place in chosen], np.int64))
    columns = best.rows, best.query_rows, best.scores, best.correlations, best.divergences
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    return [Hit(owner_id, *own) for (owner_id, _), own in zip(chosen, numbers, strict=True)]


def _ties_by_id(
    shelf: Shelf, ranked: dict[int, int], scores: Floats64
) -> Iterable[tuple[int, int]]:
    """Bring owners of equal scores into the order of their ids; others are in order already.

    Within a segment numbers are in the order of ids.
    """
    if len(shelf.segments) == 1:
        return ranked.items()
    tied = groupby(ranked.items(), key=lambda owner: float(scores[owner[1]]))
    return chain.from_iterable(
        sorted(group, key=lambda owner: shelf.owner_id(owner[0])) for _, group in tied
    )
