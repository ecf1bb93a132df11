"""DEAM's table and openSMILE's columns: what a kernel ridge reads off them, at home and elsewhere.

The peer of a bundle that is trained with ``--frontend opensmile``. Within DEAM: R² of the songs'
mean arousal and valence, five folds. Elsewhere: fitted to all of DEAM's table, tried on the
recordings of another corpus, Spearman's coefficient between estimates and annotations of pieces.
Columns become Gaussian by their ranks in DEAM.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer

from bench.timing import Report
from models.cache import cache_folder
from models.opensmile_columns import DEAM_COLUMNS, OPENSMILE_COLUMNS, at_common_level
from models.opensmile_descriptors import DESCRIPTOR_RATE_HZ, PatchDescriptors
from training.corpora.corpus import Corpus
from training.corpora.deam import load_deam
from training.corpora.folder import load_folder_corpus
from training.examples import Example, aligned_examples
from training.features import Features, extract_features, load_features

TABLE_FILE = "features_song_level_opensmile.csv"
AGREEMENT_FILE = "opensmile_agreement.csv"
_CLOSE_CORRELATION = 0.9
_PENALTY = 0.3
_FURTHEST = 3.0  # deviations; what lies beyond all of DEAM would else be at 5

Floats = NDArray[np.float32]


class UnlevelledDescriptors:
    """The opensmile frontend before recordings are brought to one level: F = 101."""

    name = "opensmile-unlevelled"
    feature_size = len(DEAM_COLUMNS)
    sample_rate_hz = DESCRIPTOR_RATE_HZ

    def __init__(self) -> None:
        self._describe = PatchDescriptors(DEAM_COLUMNS)

    def features(self, waveform: Floats) -> Floats:
        """See models.frontends.Frontend."""
        return self._describe(waveform)

    def identity(self) -> dict[str, str | int | float]:
        """See models.frontends.Frontend."""
        return {"name": self.name, "columns": ",".join(DEAM_COLUMNS)}

    def save(self, folder: Path) -> list[str]:  # noqa: ARG002
        """See models.frontends.Frontend."""
        return []


def load(deam: Path, other: Path) -> tuple[Corpus, Features, Sequence[str], Corpus, Features]:
    """Read DEAM with its table and the columns that agree, and hear another corpus' recordings."""
    with (deam / AGREEMENT_FILE).open(newline="", encoding="utf-8") as file:
        close = [
            row["feature"]
            for row in csv.DictReader(file)
            if float(row["correlation_over_10_recordings"]) > _CLOSE_CORRELATION
        ]
    corpus = load_folder_corpus(other)
    heard = extract_features(corpus, UnlevelledDescriptors(), cache_folder() / "features")
    return load_deam(deam), load_features(deam / TABLE_FILE, DEAM_COLUMNS), close, corpus, heard


def run(
    deam: Corpus, table: Features, close: Sequence[str], other: Corpus, heard: Features
) -> Report:
    """Compare all columns, those of close agreement, and all at one level.

    ``table`` and ``heard`` hold (T, 101) DEAM_COLUMNS, as DEAM's table has them and as they were
    heard; ``close`` names some of them.
    """
    songs = aligned_examples(deam, table)
    pieces = aligned_examples(other, heard)
    everything = np.arange(len(DEAM_COLUMNS))
    few = np.array([DEAM_COLUMNS.index(column) for column in close])
    compared = {
        "all": (songs, pieces, everything),
        "close": (songs, pieces, few),
        "one_level": (
            aligned_examples(deam, _levelled(table)),
            aligned_examples(other, _levelled(heard)),
            np.arange(len(OPENSMILE_COLUMNS)),
        ),
    }
    rows = []
    for name, (home, elsewhere, places) in compared.items():
        within, beyond = _within(home, places), _beyond(home, elsewhere, places)
        rows.append({"columns": name, "F": len(places), **within, **beyond})
    return {"songs": len(songs), "pieces_elsewhere": len(pieces), "kernel_ridge": rows}


def _levelled(features: Features) -> Features:
    return {piece_id: at_common_level(values) for piece_id, values in features.items()}


def _within(songs: list[Example], places: NDArray[np.int64]) -> Report:
    vectors, means = _vectors(songs, places), _means(songs)
    folds = KFold(5, shuffle=True, random_state=0)
    estimates = cross_val_predict(_kernel_ridge(len(places), len(songs)), vectors, means, cv=folds)
    valence, arousal = r2_score(means, estimates, multioutput="raw_values")
    return {"r2_arousal": float(arousal), "r2_valence": float(valence)}


def _beyond(songs: list[Example], pieces: list[Example], places: NDArray[np.int64]) -> Report:
    model = _kernel_ridge(len(places), len(songs)).fit(_vectors(songs, places), _means(songs))
    windows = [_window_means(piece)[:, places] for piece in pieces]
    estimated = model.predict(np.concatenate(windows).astype(np.float64))
    ends = np.cumsum([len(each) for each in windows])[:-1]
    estimates = np.stack([each.mean(axis=0) for each in np.split(estimated, ends)])
    valence, arousal = (spearmanr(estimates[:, i], _means(pieces)[:, i])[0] for i in (0, 1))
    return {"spearman_arousal": float(arousal), "spearman_valence": float(valence)}


def _window_means(piece: Example) -> Floats:
    return np.stack([features.mean(axis=0) for features, _ in piece.windows()])


def _vectors(songs: list[Example], places: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([song.features.mean(axis=0)[places] for song in songs]).astype(np.float64)


def _means(pieces: list[Example]) -> NDArray[np.float64]:
    return np.stack([piece.curve.values.mean(axis=0) for piece in pieces])


def _kernel_ridge(size: int, songs: int) -> Pipeline:
    return make_pipeline(
        QuantileTransformer(n_quantiles=min(500, songs // 2), output_distribution="normal"),
        FunctionTransformer(np.clip, kw_args={"a_min": -_FURTHEST, "a_max": _FURTHEST}),
        KernelRidge(kernel="rbf", gamma=1 / (2 * size), alpha=_PENALTY),
    )
