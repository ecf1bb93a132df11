"""How far a search must look: measured on the index that was built, against an exhaustive search.

Queries of each kind (curves, recordings), at several λ, are answered exhaustively while the vectors
are written. Where the cells of the true answers come in the order in which a query visits cells
says how many must be visited.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.index.exam import Exam
from service.index.frame import Floats32
from service.index.partition import Effort, Partition

WEIGHTS = (0.0, 0.05, 0.3, 0.6, 1.0)
"""The λ that are measured at; a sketch is fitted over others."""

_MOST_CANDIDATES, _FEWEST_CANDIDATES = 2_000, 50
_ENOUGH = 0.998
_MARGIN = 2.25
"""Other queries than the exam's must find as much."""


def tune(partition: Partition, exam: Exam) -> tuple[Effort, dict[str, float]]:
    """Return the effort that finds the true answers, and the recall with it, by group.

    It has the margin over what holds 99.8 % of the answers in every group: over the cells that are
    visited, and over the candidates where the answers in those cells are among so many.
    """
    questions = exam.questions
    cells = _enough(exam, _turns(partition, questions, exam.answers), partition.cells)
    most = min(_MOST_CANDIDATES, len(partition))
    found, _ = partition.candidates(questions, cells, most, None)
    places = np.stack(
        [_places(rows, answers) for rows, answers in zip(found, exam.answers, strict=True)]
    )
    candidates = max(_enough(exam, places, most), min(_FEWEST_CANDIDATES, most))
    return Effort(cells, candidates), exam.recalls(found[:, :candidates])


def _enough(exam: Exam, places: NDArray[np.int64], most: int) -> int:
    """Return how many there must be for most of some places (E, A) to be among them."""
    needed = 1 + max(
        int(np.quantile(part, _ENOUGH, method="inverted_cdf"))
        for part in exam.by_group(places).values()
    )
    return min(round(_MARGIN * needed), most)


def _places(found: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the answers (A,) are among what was found (C,): 0 where they are not at all.

    What no cell that is visited holds, no candidate more would find.
    """
    places: NDArray[np.int64] = (found == answers[:, None]).argmax(axis=1)
    return places


def _turns(
    partition: Partition, questions: Floats32, answers: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many cells promise each question more than those of its answers: (E, A)."""
    cell = np.empty(len(partition), np.int32)
    cell[partition.rows] = np.repeat(np.arange(partition.cells), np.diff(partition.starts))
    turns = np.empty(answers.shape, np.int64)
    for place, promises in enumerate(partition.promises(questions)):
        own = promises[cell[answers[place]]]
        turns[place] = (promises > own[:, None]).sum(axis=1)
    return turns
