"""How far DEAM's raters differ, from the ratings of each, where these are at hand.

``annotations/annotations per each rater/dynamic (per second annotations)/{arousal,valence}/
<id>.csv`` has one row a rater and the columns ``sample_<ms>ms``, in [-1, 1]; some files begin with
``WorkerId``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.corpora.corpus import CorpusError

_FOLDER = "annotations/annotations per each rater/dynamic (per second annotations)"


def rater_spread(
    root: Path, number: int, sample_columns: Sequence[str]
) -> NDArray[np.float64] | None:
    """Return the standard deviation (T, 2) between raters of a song, column 0 valence, 1 arousal.

    One row per column named in ``sample_columns``; n - 1 in the denominator. NaN where fewer than
    two raters have a value. None where the song has not both files.

    Raises:
        CorpusError: a file holds something else than numbers, or cannot be read.
    """
    paths = [root / _FOLDER / axis / f"{number}.csv" for axis in ("valence", "arousal")]
    if not all(path.is_file() for path in paths):
        return None
    return np.stack([_deviation(_read_ratings(path, sample_columns)) for path in paths], axis=1)


def _read_ratings(path: Path, sample_columns: Sequence[str]) -> NDArray[np.float64]:
    """Return ratings (raters, T), NaN where a rater has none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                [float(row.get(name) or "nan") for name in sample_columns]
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: {error}: expected one row of numbers a rater") from error
    return np.array(rows, dtype=np.float64).reshape(-1, len(sample_columns))


def _deviation(ratings: NDArray[np.float64]) -> NDArray[np.float64]:
    rated = np.isfinite(ratings)
    count = rated.sum(axis=0)
    mean = np.where(rated, ratings, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(rated, (ratings - mean) ** 2, 0.0).sum(axis=0)
    deviation: NDArray[np.float64] = np.where(
        count >= 2, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan
    )
    return deviation
