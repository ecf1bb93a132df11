"""What the length of a clip alone tells, where annotation and recording of one clip share it.

PMEmo's clips differ in length. Whoever knows only the number of 2 Hz steps of a query and of each
item already finds many a true pair: the baseline beside which every figure of clips in their true
lengths has to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from training.metrics import RetrievalMetrics

Lengths = Sequence[int] | NDArray[np.integer]


def length_only_scores(query_lengths: Lengths, item_lengths: Lengths) -> NDArray[np.float64]:
    """Score all pairs by how close their numbers of steps are: (Q,), (N,) → (Q, N).

    The score is the negative absolute difference in steps; 0, the highest, is the same length.
    """
    query = np.asarray(query_lengths, np.float64)
    return -np.abs(query[:, None] - np.asarray(item_lengths, np.float64))


def expected_length_metrics(
    lengths: Lengths, items: int, *, ties: Literal["random", "against"], k: int = 10
) -> RetrievalMetrics:
    """Expected MRR, AR and recall@``k`` of finding a song by its number of steps alone.

    ``items`` songs are drawn at random, without replacement, from a corpus with these ``lengths``
    in steps; each of them is looked for among them. Exact: how many of the songs of one length are
    drawn is hypergeometric, and where x are, each of those x has the rank x with ties ``against``
    us, any of 1 .. x with ``random`` ones.

    Raises:
        ValueError: there are fewer songs than items, or no items.
    """
    if not 1 <= items <= len(lengths):
        raise ValueError(f"cannot draw {items} of {len(lengths)} songs")
    _, songs_of_length = np.unique(np.asarray(lengths), return_counts=True)
    tied = np.arange(1, items + 1)
    drawn = hypergeom.pmf(tied, len(lengths), songs_of_length[:, None], items)  # (lengths, x)
    share = drawn.sum(axis=0) * tied / items
    if ties == "against":
        return {
            "mrr": float(share @ (1 / tied)),
            "ar": float(share @ tied),
            "recall_at_10": float(share @ (tied <= k)),
        }
    return {
        "mrr": float(share @ (np.cumsum(1 / tied) / tied)),
        "ar": float(share @ ((tied + 1) / 2)),
        "recall_at_10": float(share @ np.minimum(k / tied, 1)),
    }
