"""How far a search must look: measured on the index that was built, against an exhaustive search.

Queries of each kind (curves, recordings), at several λ, are answered exhaustively while the vectors
are written; then cells and candidates grow until what is found holds the true answers.
"""

from __future__ import annotations

from service.index.exam import Exam
from service.index.partition import Effort, Partition

WEIGHTS = (0.0, 0.05, 0.3, 0.6, 1.0)
"""The λ that are measured at; a sketch is fitted over others."""

_CANDIDATES = (50, 70, 100, 140, 200, 400, 800, 1_600)
_FEWEST_CELLS, _MORE_CELLS = 8, 1.2
_ENOUGH = 0.998


def tune(partition: Partition, exam: Exam) -> tuple[Effort, dict[str, float]]:
    """Return the least effort that finds the true answers, and the recall with it, by group.

    Where none finds 99.8 % of them in every group, the largest is returned.
    """
    most = min(_CANDIDATES[-1], len(partition))
    cells, limit = _FEWEST_CELLS, partition.cells // 2
    while True:
        found = partition.candidates(exam.questions, cells, most, None)
        if exam.worst(found) >= _ENOUGH or cells >= limit:
            break
        cells = min(round(cells * _MORE_CELLS), limit)
    for candidates in _CANDIDATES:
        if exam.worst(found[:, :candidates]) >= _ENOUGH:
            break
    candidates = min(candidates, most)
    return Effort(cells, candidates), exam.recalls(found[:, :candidates])
