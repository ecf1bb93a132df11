"""A corpus as the paper's systems see it: arrays of whole clips, or of stretches of one length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.curve import CURVE_RATE_HZ, WINDOW_STEPS, Curve
from models.windows import PATCH_S
from training.corpora.corpus import Corpus, CorpusError, split_ids
from training.corpora.labels import first_few
from training.examples import Example, aligned_examples
from training.features import Features


class Parts(NamedTuple):
    """Rows of a run's pieces: what it is trained on and what it is asked about."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Material:
    """Every piece's music and curve, padded with zeros behind their true ``lengths``.

    ``features`` (N, T, F) float32, ``curves`` (N, T, 2) float32 in [-1, 1]; a curve begins
    ``curve_starts_s`` (N,) seconds after its music. ``protocol`` names what
    was cut, ``what`` says it in a line for the reader of a table; ``campaigns`` (N,) names who
    annotated each piece. ``examples`` are the same
    stretches for whom trains on windows; None where clips are whole.
    """

    protocol: str
    what: str
    corpus: str
    ids: tuple[str, ...]
    train_share: float
    features: NDArray[np.float32]
    feature_lengths: NDArray[np.int64]
    curves: NDArray[np.float32]
    curve_lengths: NDArray[np.int64]
    curve_starts_s: NDArray[np.float64]
    campaigns: NDArray[np.str_]
    examples: tuple[Example, ...] | None

    @property
    def has_sequences(self) -> bool:
        """Whether music is a sequence of features, not one vector a song."""
        return bool(self.features.shape[1] > 1)

    def mean_features(self) -> NDArray[np.float32]:
        """Average each piece's true steps, as sequences of one: (N, 1, F)."""
        total = self.features.sum(axis=1, keepdims=True, dtype=np.float64)
        means: NDArray[np.float32] = (total / self.feature_lengths[:, None, None]).astype(
            np.float32
        )
        return means

    def mean_curves(self) -> NDArray[np.float32]:
        """Average each curve's true steps, as sequences of one: (N, 1, 2)."""
        total = self.curves.sum(axis=1, keepdims=True, dtype=np.float64)
        means: NDArray[np.float32] = (total / self.curve_lengths[:, None, None]).astype(np.float32)
        return means

    def parts(self, seed: int) -> Parts:
        """Split by the design's rule into the published training part and the test part."""
        fitted, validation, test = self._split(seed)
        return Parts(np.concatenate([fitted, validation]), test)

    def inner_parts(self, seed: int) -> Parts:
        """Split the training part alone, for choices: its validation pieces are held out."""
        fitted, validation, _ = self._split(seed)
        return Parts(fitted, validation)

    def digest(self) -> str:
        """Return a SHA-256 of all that a run can learn from."""
        sha = hashlib.sha256(f"{self.protocol} {self.ids} {self.train_share}".encode())
        for array in (self.features, self.feature_lengths, self.curves, self.curve_lengths):
            sha.update(f"{array.shape} {array.dtype}".encode())
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()

    def _split(self, seed: int) -> list[NDArray[np.int64]]:
        row = {piece_id: number for number, piece_id in enumerate(self.ids)}
        split = split_ids(list(self.ids), seed, self.train_share)
        return [
            np.array([row[piece_id] for piece_id in part], np.int64)
            for part in (split.train, split.validation, split.test)
        ]


def whole_clips(corpus: Corpus, features: Features) -> Material:
    """Take every recording whole and every curve whole, as the paper does on PMEmo.

    Their lengths differ and tell which belongs to which: see training/length_leak.py.

    Raises:
        CorpusError: a piece has no features.
    """
    missing = [piece.id for piece in corpus.pieces if piece.id not in features]
    if missing:
        raise CorpusError(f"there are no features of {len(missing)} pieces: {first_few(missing)}")
    return _material(
        corpus,
        "true-lengths",
        "whole clips and whole curves, of their true lengths",
        [features[piece.id] for piece in corpus.pieces],
        [piece.curve.values for piece in corpus.pieces],
        [piece.start_s for piece in corpus.pieces],
        None,
    )


def one_length(corpus: Corpus, features: Features) -> Material:
    """Cut music and curves to one stretch from where the annotation begins, the same for all.

    It is as long as the shortest curve, at most 30 s: on DEAM the 60 steps that every song has. No
    length can tell a piece then; one vector a song, computed before, cannot be cut.

    Raises:
        CorpusError: a piece has no features, or they end before half the stretch.
    """
    examples = aligned_examples(corpus, features)
    steps = min(WINDOW_STEPS, *(len(example.curve.values) for example in examples))
    sequences, patches = _cut_features(examples, steps / CURVE_RATE_HZ)
    cut = tuple(
        Example(example.id, example.label, Curve(example.curve.values[:steps]), sequence)
        for example, sequence in zip(examples, sequences, strict=True)
    )
    music = f"{patches} patches of 0.96 s" if patches > 1 else "one vector a song, not cut"
    return _material(
        corpus,
        "length-blind",
        f"curves of {steps} steps ({steps / CURVE_RATE_HZ:g} s), music: {music}",
        [example.features for example in cut],
        [example.curve.values for example in cut],
        [0.0 for _ in cut],
        cut,
    )


def _cut_features(
    examples: Sequence[Example], duration_s: float
) -> tuple[list[NDArray[np.float32]], int]:
    """Cut all sequences to the patches that all have, of those that fit into ``duration_s``."""
    lengths = [len(example.features) for example in examples]
    if max(lengths) == 1:
        return [example.features for example in examples], 1
    wanted = int(duration_s / PATCH_S)
    short = [e.id for e, length in zip(examples, lengths, strict=True) if length < wanted / 2]
    if short:
        raise CorpusError(
            f"the features of {len(short)} pieces end before half of {duration_s:g} s from where "
            f"their curves begin: {first_few(short)}"
        )
    common = min(wanted, *lengths)
    return [example.features[:common] for example in examples], common


def _material(
    corpus: Corpus,
    protocol: str,
    what: str,
    music: Sequence[NDArray[np.float32]],
    curves: Sequence[NDArray[np.float64]],
    starts_s: Sequence[float],
    examples: tuple[Example, ...] | None,
) -> Material:
    return Material(
        protocol,
        what,
        corpus.name,
        tuple(piece.id for piece in corpus.pieces),
        corpus.train_share,
        _padded([sequence.astype(np.float32) for sequence in music]),
        np.array([len(sequence) for sequence in music], np.int64),
        _padded([curve.astype(np.float32) for curve in curves]),
        np.array([len(curve) for curve in curves], np.int64),
        np.array(starts_s),
        np.array([piece.campaign for piece in corpus.pieces]),
        examples,
    )


def _padded(sequences: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    longest = max(len(sequence) for sequence in sequences)
    padded = np.zeros((len(sequences), longest, sequences[0].shape[1]), np.float32)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded
