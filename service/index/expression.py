"""Which rows may be proposed, as an expression in Milvus' filter language.

Artists and tags are written as their numbers in the snapshot (see service.index.traits), never as
text: whatever a caller names an artist, no part of it reaches the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.index.protocol import Admission
from service.index.traits import TrackFilter, Traits

NO_TEMPO = -1.0
"""What stands for a tempo that is not known; a bound lets no such track through."""

LISTED = 256
"""So many rows that the filter lets through and the mask does not are named one by one."""

_WIDEST = 16.0
"""Where a filter lets through less than a fourteenth, Milvus scans what is left."""


@dataclass(frozen=True)
class Restriction:
    """What an engine filters by itself, and what it will answer that may not be proposed.

    Of ``passing`` rows, out of ``total``, that ``expression`` lets through, ``admitted`` may be
    proposed; ``hidden`` rows that may not are known to be close to the query.
    """

    expression: str
    total: int
    passing: int
    admitted: int
    hidden: int

    def asked_for(self, count: int) -> int:
        """Return how many answers to ask for, so that about ``count`` of them may be proposed."""
        forbidden = self.passing - self.admitted
        expected = 2 * count * self.passing // max(self.admitted, 1) + self.hidden
        return count + min(forbidden, expected)

    def width(self, limit: int) -> float:
        """Return how many rows a graph's search must pass to find ``limit`` that are let through.

        Those that are not count among the ones that it passes.
        """
        return limit * min(self.total / max(self.passing, 1), _WIDEST) + self.hidden


def restriction(admission: Admission, traits: Traits, owners: NDArray[np.int32]) -> Restriction:
    """Write an admission of the rows of ``owners`` (N,), whose ``traits`` are those given."""
    clauses, passes = [], np.ones(len(owners), np.bool_)
    if admission.wanted is not None:
        clauses.append(filter_expression(admission.wanted, traits))
        passes = traits.admitted(admission.wanted)[owners]
    forbidden = np.flatnonzero(passes & ~admission.mask)
    passing = int(np.count_nonzero(passes))
    if len(forbidden) > LISTED:
        return Restriction(
            _joined(clauses), len(owners), passing, admission.count, admission.hidden
        )
    if len(forbidden):
        clauses.append(f"row not in {_numbers(forbidden.tolist())}")
    count = admission.count
    return Restriction(_joined(clauses), len(owners), count, count, admission.hidden)


def filter_expression(wanted: TrackFilter, traits: Traits) -> str:
    """Write a filter as an expression; empty where it lets everything through."""
    clauses = []
    if wanted.artists:
        clauses.append(f"artist in {_numbers(traits.artist_numbers(wanted.artists))}")
    if wanted.tags:
        tags = traits.tag_numbers(wanted.tags)
        known = tags if len(tags) == len(wanted.tags) else []
        clauses.append(f"ARRAY_CONTAINS_ALL(tags, {_numbers(known)})")
    if wanted.bpm_low is not None or wanted.bpm_high is not None:
        clauses.append(f"bpm > {NO_TEMPO}")
    if wanted.bpm_low is not None:
        clauses.append(f"bpm >= {_single(wanted.bpm_low)}")
    if wanted.bpm_high is not None:
        clauses.append(f"bpm <= {_single(wanted.bpm_high)}")
    return _joined(clauses)


def _joined(clauses: Iterable[str]) -> str:
    return " and ".join(clause for clause in clauses if clause)


def _numbers(numbers: Iterable[int]) -> str:
    """Write a list; an empty one as one of a number that nothing has."""
    return f"[{', '.join(map(str, numbers)) or '-2'}]"


def _single(bound: float) -> str:
    """Write a bound as what it is compared as: tempi are stored in single precision."""
    return format(float(np.float32(bound)), ".17g")
