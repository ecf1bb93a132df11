"""The sketch: one linear map of items and one of queries to r numbers that keep their products.

Best in the mean square over pairs of a query and an item is the truncated singular value
decomposition of C_q^½ C_t^½, with C the second moments of queries and items (design.md, section 4).
What a search needs is narrower: the order among the best few. So moments are taken where it counts:

- a query is divided by the spread of its *best* items' scores, not of all items'. Near λ = 0 the
  best lie within a twentieth of the spread of all; scaled by the latter, a sketch of the same size
  kept a fifth of the true answers (docs/decisions/0009-sketch-search.md);
- items count as they differ from one another within a query's best.

Both moments are over a mixture of λ, so that one sketch serves every λ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
import torch
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.exam import Exam
from service.index.frame import Floats32, Floats64, Frame
from service.index.vectors import best_of_block

MIXTURE = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0)
"""The λ that a sketch is fitted over."""

RANKS = (16, 24, 32, 48, 64, 96)
_BEST_SHARE = 0.01
_FEWEST_BEST = 50
_SHARE_OF_ALL = 0.02  # of the moment of all items: those far from every best must stay far
_SMALLEST_EIGENVALUE = 1e-11
_CANDIDATES = 50
_ENOUGH_KEPT = 0.9985


@dataclass(frozen=True, eq=False)
class Sketch:
    """``items`` and ``queries`` (3D + 1, r) map vectors of a frame to their sketches."""

    items: Floats32
    queries: Floats32

    @property
    def rank(self) -> int:
        """r."""
        return int(self.items.shape[1])

    def best(self, questions: Floats32, items: Floats32, count: int) -> NDArray[np.int64]:
        """Return the ``count`` rows of items that score highest for each question by sketch.

        Questions (Q, 3D + 1) and items (N, 3D + 1) in the frame → (Q, C).
        """
        products = (questions @ self.queries) @ (items @ self.items).T
        rows: NDArray[np.int64] = best_of_block(torch.from_numpy(products), 0, count)[1].numpy()
        return rows


def fit_sketch(
    frame: Frame,
    items: Floats32,
    fitting: Sequence[Encodings],
    judging: Mapping[str, Encodings],
    divergence_scale: float,
    ranks: Sequence[int] = RANKS,
) -> Sketch:
    """Fit a sketch of the smallest rank that keeps the best, or of the largest.

    ``items`` (S, 3D + 1) are a sample in the frame; ``fitting`` and ``judging`` hold a block of
    queries of each kind (curves, recordings). A rank is enough where, for every kind and λ, the
    sketch's best 50 of the sample hold 99.85 % of the true best 10.
    """
    query_moment, item_moment = moments(frame, items, fitting, divergence_scale)
    whole = decompose(query_moment, item_moment, min(ranks[-1], items.shape[1]))
    exam = Exam.of(frame, judging, MIXTURE, divergence_scale)
    exam.see(0, items)
    for rank in ranks:
        sketch = Sketch(
            np.ascontiguousarray(whole.items[:, :rank]),
            np.ascontiguousarray(whole.queries[:, :rank]),
        )
        if exam.worst(sketch.best(exam.questions, items, _CANDIDATES)) >= _ENOUGH_KEPT:
            break
    return sketch


def moments(
    frame: Frame, items: Floats32, queries: Sequence[Encodings], divergence_scale: float
) -> tuple[Floats64, Floats64]:
    """Return the second moments of queries and of items, both where it counts: (P, P) each."""
    count = len(items)
    best = min(max(_FEWEST_BEST, round(_BEST_SHARE * count)), count)
    columns = items.shape[1]
    query_moment, mean_moment = np.zeros((columns, columns)), np.zeros((columns, columns))
    seen, asked = np.zeros(count), 0
    for weight in MIXTURE:
        for block in queries:
            vectors = frame.queries(block, weight=weight, divergence_scale=divergence_scale)
            scores = torch.from_numpy(vectors @ items.T)
            values, places = (part.numpy() for part in torch.topk(scores, best, dim=1))
            spread = np.maximum(values.std(axis=1, keepdims=True), 1e-30)
            scaled = (vectors / spread).astype(np.float64)
            query_moment += scaled.T @ scaled / len(block)
            chosen = scipy.sparse.csr_array(
                (
                    np.full(places.size, 1 / best, np.float32),
                    places.ravel(),
                    np.arange(0, places.size + 1, best),
                ),
                shape=(len(block), count),
            )
            means = (chosen @ items).astype(np.float64)
            mean_moment += means.T @ means
            seen += np.bincount(places.ravel(), minlength=count) / best
            asked += len(block)
    weighted = (items * np.sqrt(seen)[:, None].astype(np.float32)).astype(np.float64)
    item_moment = (weighted.T @ weighted - mean_moment) / asked
    everything = items.astype(np.float64)
    item_moment += _SHARE_OF_ALL * (everything.T @ everything) / count
    return query_moment, item_moment


def decompose(query_moment: Floats64, item_moment: Floats64, rank: int) -> Sketch:
    """Truncate C_q^½ C_t^½ to ``rank``, its singular values shared by both sides.

    Shared evenly, items that answer the same queries lie together, which the partition needs.
    """
    query_root, query_inverse = _root(query_moment)
    item_root, item_inverse = _root(item_moment)
    product = query_root.T @ item_root
    rank = min(rank, *product.shape)
    size = product.shape[1]
    values, right = scipy.linalg.eigh(product.T @ product, subset_by_index=[size - rank, size - 1])
    singular = np.sqrt(np.maximum(values[::-1], 1e-300))
    right = right[:, ::-1]
    left = product @ right / singular
    share = np.sqrt(singular)
    return Sketch(
        (item_inverse @ right * share).astype(np.float32),
        (query_inverse @ left * share).astype(np.float32),
    )


def _root(moment: Floats64) -> tuple[Floats64, Floats64]:
    """Return R and R⁻ᵀ with R Rᵀ = ``moment``, over the directions that it has at all."""
    values, vectors = scipy.linalg.eigh(moment)
    real = values > values[-1] * _SMALLEST_EIGENVALUE
    root = np.sqrt(values[real])
    return vectors[:, real] * root, vectors[:, real] / root
