"""What every corpus is: pieces with curves, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.curve import Curve


class CorpusError(ValueError):
    """A corpus folder that cannot be used; the text says what is wrong and where."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One annotated recording.

    ``curve`` begins ``start_s`` seconds into the recording (0 unless its annotation begins later,
    as in DEAM). ``audio`` is None where only features are at hand. ``rater_sd`` (T, 2), columns and
    scale as the curve's, is the standard deviation between its raters, NaN at steps that fewer than
    two of them rated, and None where single ratings are not at hand. ``campaign`` names the
    annotation campaign, where a corpus was annotated in several.
    """

    id: str
    label: str
    curve: Curve
    start_s: float
    audio: Path | None
    rater_sd: NDArray[np.float64] | None = None
    campaign: str = ""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A named set of pieces, with the licence and citation they come under.

    The order of ``pieces`` is part of the corpus, because splits permute it: sorted by id, as
    numbers where ids are numbers. ``source`` says where recordings belong and come from.
    """

    name: str
    licence: str
    citation: str
    pieces: tuple[Piece, ...]
    train_share: float = 0.8
    source: str = "recordings belong in audio/<id>.*"


@dataclass(frozen=True)
class Split:
    """Ids of a corpus' parts; ``validation`` is cut out of what the published split trains on."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


VALIDATION_SHARE = 0.15


def split_ids(ids: list[str], seed: int, train_share: float) -> Split:
    """Split ids by the design's rule: the first share of a seeded permutation.

    ``ids`` come in the corpus' order, which the permutation is of. The last 15 % of the training
    part, in the permutation's order, validate: every choice is made on them, and the test part is
    looked at once.
    """
    order = np.random.default_rng(seed).permutation(len(ids))
    shuffled = [ids[i] for i in order]
    train_count = round(train_share * len(ids))
    validation_count = max(round(VALIDATION_SHARE * train_count), 1)
    fitted = train_count - validation_count
    return Split(
        tuple(shuffled[:fitted]), tuple(shuffled[fitted:train_count]), tuple(shuffled[train_count:])
    )
