"""Columns of a table of features, chosen by their names."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.frontends import OpensmileFrontend
from models.opensmile_columns import DEAM_COLUMNS, at_common_level
from training.corpora.corpus import CorpusError
from training.features import load_features, load_features_for


@given(st.permutations(["a", "b", "c", "d"]), st.integers(1, 4))
def test_columns_come_in_the_order_asked_for(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], count: int
) -> None:
    path = tmp_path_factory.mktemp("named") / "f.csv"
    path.write_text("song_id,d,b,a,c\n7,4,2,1,3\n8,40,20,10,30\n")
    features = load_features(path, names[:count])
    values = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert features["7"].tolist() == [[values[name] for name in names[:count]]]
    assert np.array_equal(features["8"], 10 * features["7"])


def test_deams_table_becomes_the_frontends_features(shared_data: Path) -> None:
    path = shared_data / "deam" / "features_song_level_opensmile.csv"
    frontend = OpensmileFrontend()
    features = load_features_for(frontend, path)
    assert len(features) == 1_802
    assert {array.shape for array in features.values()} == {(1, frontend.feature_size)}
    with path.open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["song_id"] == "10")
    values = np.array([[row[name] for name in DEAM_COLUMNS]], np.float32)
    assert np.array_equal(features["10"], at_common_level(values))


def test_without_that_frontend_a_table_is_taken_as_it_is(shared_data: Path) -> None:
    path = shared_data / "deam" / "features_song_level_opensmile.csv"
    assert load_features_for(None, path)["10"].shape == (1, 167)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,a,b\n1,2,3\n", "f.csv lacks 1 of the 3 columns that the frontend gives: c"),
        ("id,1,2,3\n4,5,6,7\n", "lacks 3 of the 3 columns .*: a, b, c"),
        ("id,a,b,c,d\n1,2,3,4\n", "4 columns have names, its rows 3 values"),
        ("id\n1,2,3,4\n", "0 columns have names, its rows 3 values"),
    ],
)
def test_a_table_without_the_columns_says_which(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        load_features(tmp_path / "f.csv", ("a", "b", "c"))


def test_sequences_have_no_names_and_are_taken_as_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", a=np.ones((4, 3)))
    features = load_features_for(OpensmileFrontend(), tmp_path / "f.npz")
    assert features["a"].shape == (4, 3)
