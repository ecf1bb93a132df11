"""The k best owners for a query: float64 scores by definition, whatever proposed them.

An owner (a track, an emotion) scores by its best (query window, item window) pair. The search index
proposes candidates for each query window; their pairs are scored in float64 from the stored
encodings. Where the index searches exhaustively, every pair that was *not* proposed scores below
the last proposal of its query window, up to the index's rounding: as soon as the k-th answer scores
above all of those, the answer is the one that an exhaustive search gives; until then four times as
many candidates are asked for. An approximate index is asked again only for want of answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings, composite
from service.index.pairs import score_pairs
from service.index.protocol import Admission
from service.index.shelf import EncodingRows, Shelf

Floats64 = NDArray[np.float64]

_PAIRS_AT_ONCE = 1_024
_LEAST_CANDIDATES = 24
_CANDIDATES_PER_RESULT = 3
_MORE_CANDIDATES = 4
_ERROR_MARGIN = 4.0
"""The index's largest error seen on the candidates, times this, bounds the error elsewhere."""


@dataclass(frozen=True)
class Hit:
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
    count = max(_LEAST_CANDIDATES, _CANDIDATES_PER_RESULT * k)
    while True:
        found = _candidates(shelf, query, count, scales, choice.admissions, exact=exact)
        hits = _choose(shelf, _best_of_each_owner(shelf, found.pairs), k, choice)
        if found.everything or (len(hits) == k and hits[-1].score > found.horizon):
            return hits
        count *= _MORE_CANDIDATES


@dataclass(frozen=True, eq=False)
class _Found:
    """Scored candidates; what an exhaustive index left out scores at most ``horizon``.

    ``everything``: nothing was left out.
    """

    pairs: _Pairs
    horizon: float
    everything: bool


def _candidates(
    shelf: Shelf,
    query: Encodings,
    count: int,
    scales: dict[str, float],
    admissions: Sequence[Admission | None],
    *,
    exact: bool,
) -> _Found:
    parts: list[_Pairs] = []
    horizon, everything = -np.inf, True
    for number, (segment, admission) in enumerate(zip(shelf.segments, admissions, strict=True)):
        available = len(segment) if admission is None else admission.count
        if available == 0:
            continue
        proposals = segment.index.propose(query, count, **scales, admission=admission, exact=exact)
        real = proposals.rows >= 0
        query_rows = np.repeat(np.arange(len(query)), real.sum(axis=1))
        pairs = _score(segment.encodings, query, query_rows, proposals.rows[real], **scales)
        pairs.rows[:] += shelf.first_rows[number]
        parts.append(pairs)
        if count >= available and proposals.exhaustive:
            continue
        everything = False
        if proposals.exhaustive:
            error = float(np.abs(proposals.scores[real] - pairs.scores).max(initial=0.0))
            last = float(proposals.scores[:, -1].max())
            horizon = max(horizon, last + _ERROR_MARGIN * error)
    return _Found(_Pairs.joined(parts), horizon, everything)


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


def _best_of_each_owner(shelf: Shelf, pairs: _Pairs) -> _Pairs:
    """Keep one pair an owner, its best, ordered by score and then by the owner's number."""
    owners = shelf.owners_of(pairs.rows)
    order = np.lexsort((pairs.rows, pairs.query_rows, owners, -pairs.scores))
    firsts: dict[int, int] = {}
    for place, owner in zip(order.tolist(), owners[order].tolist(), strict=True):
        firsts.setdefault(owner, place)
    return pairs.take(np.array(list(firsts.values()), np.int64))


def _choose(shelf: Shelf, ranked: _Pairs, k: int, choice: Choice) -> list[Hit]:
    """Take the first k of one-pair-an-owner ``ranked`` that may be answers."""
    taken: dict[str, int] = {}
    chosen: list[tuple[int, str]] = []
    owners = shelf.owners_of(ranked.rows)
    for place in _by_score_then_id(shelf, ranked.scores, owners):
        if len(chosen) == k:
            break
        owner = int(owners[place])
        if owner in choice.excluded:
            continue
        if choice.max_per_artist is not None and (artist := shelf.artist_of(owner)) is not None:
            if taken.get(artist, 0) >= choice.max_per_artist:
                continue
            taken[artist] = taken.get(artist, 0) + 1
        chosen.append((place, shelf.owner_id(owner)))
    best = ranked.take(np.array([place for place, _ in chosen], np.int64))
    columns = best.rows, best.query_rows, best.scores, best.correlations, best.divergences
    return [
        Hit(owner_id, *pair)
        for (_, owner_id), *pair in zip(
            chosen, *(column.tolist() for column in columns), strict=True
        )
    ]


def _by_score_then_id(shelf: Shelf, scores: Floats64, owners: NDArray[np.int64]) -> Iterator[int]:
    """Yield places of ``scores``, which fall, with equal ones in the order of owners' ids.

    Within a segment numbers are in the order of ids already.
    """
    if len(shelf.segments) == 1:
        yield from range(len(scores))
        return
    first = 0
    while first < len(scores):
        last = int(np.searchsorted(-scores, -scores[first], side="right"))
        yield from sorted(range(first, last), key=lambda place: shelf.owner_id(int(owners[place])))
        first = last
