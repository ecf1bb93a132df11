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

_CANDIDATES = (50, 70, 100, 140, 200, 400, 800, 1_600)
_ENOUGH = 0.998
_MARGIN = 1.25
"""Other queries than the exam's must find as much."""


def tune(partition: Partition, exam: Exam) -> tuple[Effort, dict[str, float]]:
    """Return the effort that finds the true answers, and the recall with it, by group.

    In every group 99.8 % of the answers lie in the cells that are visited, less a quarter; and so
    many are found among the candidates, or they are the most.
    """
    turns = exam.by_group(_turns(partition, exam.questions, exam.answers))
    needed = 1 + max(
        int(np.quantile(part, _ENOUGH, method="inverted_cdf")) for part in turns.values()
    )
    cells = min(round(_MARGIN * needed), partition.cells)
    most = min(_CANDIDATES[-1], len(partition))
    found = partition.candidates(exam.questions, cells, most, None)
    for candidates in _CANDIDATES:
        if exam.worst(found[:, :candidates]) >= _ENOUGH:
            break
    candidates = min(candidates, most)
    return Effort(cells, candidates), exam.recalls(found[:, :candidates])


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
