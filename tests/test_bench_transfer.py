"""The peer of bundles that hear with openSMILE: what a kernel ridge finds, and what level does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import transfer
from bench.timing import Report
from models.opensmile_columns import DEAM_COLUMNS
from tests.conftest import random_curve
from training.corpora.corpus import Corpus, Piece
from training.features import Features

CLOSE = DEAM_COLUMNS[:40]
SQUARES = ("fband", "Slope", "Harmonicity")
POWERS = np.array(
    [
        2.0 * any(part in name for part in SQUARES)
        + 0.66 * ("audspec_length" in name)
        + 1.0 * ("RMSenergy" in name or "Flux" in name)
        for name in DEAM_COLUMNS
    ]
)


def telling_corpus(
    pieces: int, patches: int, seed: int, gains: NDArray[np.float64] | None = None
) -> tuple[Corpus, Features]:
    """Pieces of 30 s whose timbre tells their mean curve, recorded at gains of their own."""
    rng = np.random.default_rng(seed)
    image = np.random.default_rng(0).normal(size=(2, len(DEAM_COLUMNS)))
    made, features = [], {}
    for number in range(pieces):
        curve = random_curve(rng, 60)
        told = curve.values.mean(axis=0) @ image
        values = np.exp(0.5 * told + 0.05 * rng.normal(size=(patches, len(DEAM_COLUMNS))))
        if gains is not None:
            values *= gains[number] ** POWERS
        name = f"{number:03d}"
        made.append(Piece(name, name, curve, 0.0, None))
        features[name] = values.astype(np.float32)
    return Corpus("telling", "CC0-1.0", "made here", tuple(made)), features


def rows(report: Report) -> dict[str, Report]:
    return {row["columns"]: row for row in report["kernel_ridge"]}


@pytest.fixture(scope="module")
def report() -> Report:
    return transfer.run(*telling_corpus(120, 1, seed=1), CLOSE, *telling_corpus(30, 31, seed=2))


def test_finds_what_the_columns_tell(report: Report) -> None:
    assert (report["songs"], report["pieces_elsewhere"]) == (120, 30)
    found = rows(report)
    assert {name: row["F"] for name, row in found.items()} == {
        "all": 101,
        "close": 40,
        "one_level": 100,
    }
    for row in found.values():
        assert 0.8 < row["r2_arousal"] < 1
        assert 0.8 < row["r2_valence"] < 1
        assert row["spearman_arousal"] > 0.8
        assert row["spearman_valence"] > 0.8


def test_the_others_gain_matters_to_all_but_one_level(report: Report) -> None:
    gains = np.exp(np.random.default_rng(3).normal(0, 1.5, 30))
    loud = transfer.run(
        *telling_corpus(120, 1, seed=1), CLOSE, *telling_corpus(30, 31, seed=2, gains=gains)
    )
    before, after = rows(report), rows(loud)
    assert after["all"]["spearman_arousal"] != before["all"]["spearman_arousal"]
    for name in ("r2_arousal", "spearman_arousal", "spearman_valence"):
        assert after["one_level"][name] == pytest.approx(before["one_level"][name], abs=0.005)
