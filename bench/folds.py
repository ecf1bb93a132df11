"""Cross-validation over a corpus: the same folds for every benchmark that holds pieces out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import KFold

from training.corpora.corpus import VALIDATION_SHARE, Split


def fold_splits(ids: Sequence[str], folds: int) -> list[Split]:
    """Return one split a fold over ids in this order; every id is held out once.

    The last 15 % of a seeded permutation of what a fold trains on validate, as in
    :func:`training.corpora.corpus.split_ids`.
    """
    splits = []
    for fold, (training, held_out) in enumerate(
        KFold(folds, shuffle=True, random_state=0).split(ids)
    ):
        order = np.random.default_rng(fold).permutation(training)
        validation_count = max(round(VALIDATION_SHARE * len(order)), 1)
        parts = (order[:-validation_count], order[-validation_count:], held_out)
        splits.append(Split(*(tuple(ids[i] for i in part) for part in parts)))
    return splits
