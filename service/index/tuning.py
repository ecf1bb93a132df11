"""How far a search must look: measured on the index that was built, against an exhaustive search.

Queries of each kind (curves, recordings), at several λ, are answered exhaustively while the vectors
are written; then cells and candidates grow until what is found holds the true answers.
"""

from __future__ import annotations

from service.index.exam import Exam
from service.index.partition import Effort, Partition

WEIGHTS = (0.0, 0.05, 0.3, 0.6, 1.0)
"""The λ that are measured at; a sketch is fitted over others."""

_CANDIDATES = (100, 200, 400, 800, 1_600)
_ENOUGH = 0.998


def tune(partition: Partition, exam: Exam) -> tuple[Effort, dict[str, float]]:
    """Return the least effort that finds the true answers, and the recall with it, by group.

    Where none finds 99.8 % of them in every group, the largest is returned.
    """
    most = min(_CANDIDATES[-1], partition.lists.ntotal)
    cells, limit = 8, len(partition.centroids) // 2
    while True:
        found = partition.candidates(exam.questions, cells, most, None)
        if exam.worst(found) >= _ENOUGH or cells >= limit:
            break
        cells = min(round(cells * 1.5), limit)
    for candidates in _CANDIDATES:
        if exam.worst(found[:, :candidates]) >= _ENOUGH:
            break
    candidates = min(candidates, most)
    return Effort(cells, candidates), exam.recalls(found[:, :candidates])
