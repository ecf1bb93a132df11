"""The k best owners for a query, exactly: float64 scores by definition, whatever proposed them.

An owner (a track, an emotion) scores by its best (query window, item window) pair. The search index
proposes candidates for each query window; their pairs are scored in float64 from the stored
encodings. Every pair that was *not* proposed scores below the last proposal of its query window, up
to the index's rounding. So as soon as the k-th answer scores above all of those, the answer is the
one that an exhaustive search gives; until then twice as many candidates are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.similarity import Encodings, composite, standardised
from service.index.shelf import Shelf

Floats64 = NDArray[np.float64]

_PAIRS_AT_ONCE = 1_024
_LEAST_CANDIDATES = 64
_CANDIDATES_PER_RESULT = 4
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

    def joined(self, other: _Pairs) -> _Pairs:
        return _Pairs(
            np.concatenate([self.query_rows, other.query_rows]),
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.correlations, other.correlations]),
            np.concatenate([self.divergences, other.divergences]),
        )


def rank(
    shelf: Shelf,
    query: Encodings,
    k: int,
    *,
    weight: float,
    divergence_scale: float,
    admits: Callable[[str], bool] = lambda _: True,
    group_of: Callable[[str], str | None] = lambda _: None,
    max_per_group: int | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Return the up to ``k`` best owners, best first; equal scores are ordered by id.

    ``admits`` tells of an owner's id whether it may be an answer; of the owners that ``group_of``
    gives one name, at most ``max_per_group`` are taken, the best ones. ``exact`` scores every pair
    and asks the index nothing.
    """
    chooser = _Chooser(shelf, k, admits, group_of, max_per_group)
    count = len(shelf.encodings) if exact else max(_LEAST_CANDIDATES, _CANDIDATES_PER_RESULT * k)
    while count < len(shelf.encodings):
        proposals = shelf.index.propose(
            query, count, weight=weight, divergence_scale=divergence_scale
        )
        query_rows = np.repeat(np.arange(len(query)), proposals.rows.shape[1])
        pairs = _score(shelf, query, query_rows, proposals.rows.ravel(), weight, divergence_scale)
        error = float(np.abs(proposals.scores.ravel() - pairs.scores).max())
        horizon = float(proposals.scores[:, -1].max()) + _ERROR_MARGIN * error
        hits = chooser.choose(_best_of_each_owner(shelf, pairs))
        if len(hits) == k and hits[-1].score > horizon:
            return hits
        count *= 2
    return chooser.choose(_exhaustive(shelf, query, weight, divergence_scale))


def window_scores(
    shelf: Shelf, query: Encodings, *, weight: float, divergence_scale: float
) -> Floats64:
    """Score one query window (1, D) with every window of a shelf, by the definition: (N,)."""
    rows = np.arange(len(shelf.encodings))
    return _score(shelf, query, np.zeros_like(rows), rows, weight, divergence_scale).scores


def _score(
    shelf: Shelf,
    query: Encodings,
    query_rows: NDArray[np.int64],
    rows: NDArray[np.int64],
    weight: float,
    divergence_scale: float,
) -> _Pairs:
    """Score pairs by the definition in float64.

    Each pair is summed over its own D numbers alone (no matrix product, whose rounding depends on
    its shape), so that a pair has the same bits in any company and equal items tie.
    """
    correlations, divergences = np.empty(len(rows)), np.empty(len(rows))
    unit_query = standardised(query.embedding)
    query_mean, query_variance = query.mean.astype(np.float64), query.variance.astype(np.float64)
    for first in range(0, len(rows), _PAIRS_AT_ONCE):
        part = slice(first, first + _PAIRS_AT_ONCE)
        asked, items = query_rows[part], shelf.encodings.take(rows[part])
        correlations[part] = (unit_query[asked] * standardised(items.embedding)).sum(axis=1)
        variance = items.variance.astype(np.float64)
        ratio = query_variance[asked] / variance
        apart = query_mean[asked] - items.mean.astype(np.float64)
        divergences[part] = 0.5 * (ratio - 1 - np.log(ratio) + apart**2 / variance).sum(axis=1)
    scores = composite(correlations, divergences, weight=weight, divergence_scale=divergence_scale)
    return _Pairs(query_rows, rows, scores, correlations, divergences)


def _best_of_each_owner(shelf: Shelf, pairs: _Pairs) -> _Pairs:
    """Keep one pair an owner, its best, ordered by score and then by the owner's id."""
    owners = shelf.owners[pairs.rows]
    order = np.lexsort((pairs.rows, pairs.query_rows, owners, -pairs.scores))
    _, firsts = np.unique(owners[order], return_index=True)
    return pairs.take(order[np.sort(firsts)])


def _exhaustive(shelf: Shelf, query: Encodings, weight: float, divergence_scale: float) -> _Pairs:
    """Score every pair, a query window at a time, keeping the best of each owner."""
    rows = np.arange(len(shelf.encodings))
    nothing, no_scores = np.zeros(0, np.int64), np.zeros(0)
    best = _Pairs(nothing, nothing, no_scores, no_scores, no_scores)
    for query_row in range(len(query)):
        asked = np.full(len(rows), query_row)
        pairs = _score(shelf, query, asked, rows, weight, divergence_scale)
        best = _best_of_each_owner(shelf, best.joined(pairs))
    return best


class _Chooser:
    """Walks ranked owners and takes those that may be answers."""

    def __init__(
        self,
        shelf: Shelf,
        k: int,
        admits: Callable[[str], bool],
        group_of: Callable[[str], str | None],
        max_per_group: int | None,
    ) -> None:
        self._shelf = shelf
        self._k = k
        self._admits = admits
        self._group_of = group_of
        self._max_per_group = max_per_group

    def choose(self, ranked: _Pairs) -> list[Hit]:
        """Take the first k of one-pair-an-owner ``ranked`` that are admitted."""
        taken: dict[str, int] = {}
        hits: list[Hit] = []
        for place, row in enumerate(ranked.rows.tolist()):
            if len(hits) == self._k:
                break
            owner_id = self._shelf.owner_ids[self._shelf.owners[row]]
            if not self._admits(owner_id):
                continue
            group = self._group_of(owner_id)
            if group is not None and self._max_per_group is not None:
                if taken.get(group, 0) >= self._max_per_group:
                    continue
                taken[group] = taken.get(group, 0) + 1
            hits.append(
                Hit(
                    owner_id,
                    row,
                    int(ranked.query_rows[place]),
                    float(ranked.scores[place]),
                    float(ranked.correlations[place]),
                    float(ranked.divergences[place]),
                )
            )
        return hits
