"""PMEmo2019 in its official layout: the real annotations, generated recordings of true lengths."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.audio import decode
from models.bundle import load_bundle, save_bundle
from models.frontends import LogMelFrontend
from tests.training import official
from training.corpora.corpus import CorpusError, split_ids
from training.corpora.pmemo import ANNOTATIONS_FILE, load_pmemo
from training.features import extract_features
from training.pipeline import evaluate_bundle, held_out, train_bundle
from training.recipes import Recipe

_ROW = ("frameTime", "Arousal(mean)", "Valence(mean)")


@pytest.fixture(scope="module")
def annotated(shared_data: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Read (time in s, arousal, valence) of each song as the file has them."""
    songs = defaultdict(list)
    with (shared_data / "pmemo" / ANNOTATIONS_FILE).open(newline="") as file:
        for row in csv.DictReader(file):
            time_s, arousal, valence = (float(row[name]) for name in _ROW)
            songs[row["musicId"]].append((time_s, arousal, valence))
    return songs


@pytest.fixture(scope="module")
def durations_s(shared_data: Path) -> dict[str, float]:
    """Read how long each clip is."""
    with (shared_data / "pmemo" / "metadata.csv").open(newline="") as file:
        return {row["musicId"]: float(row["duration"]) for row in csv.DictReader(file)}


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """Copy the annotations."""
    official.copy_folder(shared_data / "pmemo", tmp_path, (ANNOTATIONS_FILE,))
    return tmp_path


def test_7_seconds_between_first_and_last_give_the_papers_701_songs(
    shared_data: Path,
    annotated: dict[str, list[tuple[float, float, float]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert len(annotated) == 767
    spanned = {name for name, rows in annotated.items() if rows[-1][0] - rows[0][0] >= 7.0}
    counted = {name for name, rows in annotated.items() if len(rows) / 2 >= 7.0}
    assert len(spanned) == 701
    assert len(counted) == 717
    corpus = load_pmemo(shared_data / "pmemo")
    assert {piece.id for piece in corpus.pieces} == spanned
    assert not caplog.records


def test_curves_are_the_annotations_from_15_s_in_signed_scale(
    shared_data: Path, annotated: dict[str, list[tuple[float, float, float]]]
) -> None:
    pieces = load_pmemo(shared_data / "pmemo").pieces
    assert {piece.start_s for piece in pieces} == {15.0}
    assert pieces[0].label == "2 Chainz - Good Drank"
    for piece in pieces:
        _, arousal, valence = np.array(annotated[piece.id]).T
        np.testing.assert_allclose(piece.curve.arousal, 2 * arousal - 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(piece.curve.valence, 2 * valence - 1, rtol=0, atol=1e-12)


def test_steps_that_began_at_their_frame_time_would_outlast_their_clips(
    shared_data: Path, durations_s: dict[str, float]
) -> None:
    pieces = load_pmemo(shared_data / "pmemo").pieces
    spare_s = np.array(
        [durations_s[piece.id] - piece.start_s - piece.curve.duration_s for piece in pieces]
    )
    assert (spare_s >= 0).sum() == 698
    assert (spare_s - 0.5 >= 0).sum() == 2


def test_the_published_runs_train_on_560_songs(shared_data: Path) -> None:
    corpus = load_pmemo(shared_data / "pmemo")
    ids = [piece.id for piece in corpus.pieces]
    by_number = sorted(int(i) for i in ids)
    for seed in range(10):
        split = split_ids(ids, seed, corpus.train_share)
        assert [len(part) for part in (split.train, split.validation, split.test)] == [476, 84, 141]
        order = np.random.default_rng(seed).permutation(701)
        trained = [str(by_number[i]) for i in order[:560]]
        assert [*split.train, *split.validation] == trained


def _without_a_column(rows: official.Rows) -> official.Rows:
    return [row[:3] for row in rows]


def _with_text(rows: official.Rows) -> official.Rows:
    rows[4][2] = "high"
    return rows


def _in_another_scale(rows: official.Rows) -> official.Rows:
    return [rows[0], *([*row[:2], str(2 * float(row[2]) - 1), row[3]] for row in rows[1:])]


def _of_fewer_songs(rows: official.Rows) -> official.Rows:
    return rows[:3_000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_a_column, r"lacks columns: Valence\(mean\)"),
        (_with_text, "no numbers in lines 5"),
        (
            _in_another_scale,
            r"wrong curves of songs 1 \(arousal\[0\]: is -0.124\d+, outside \[0, 1\]",
        ),
        (_of_fewer_songs, r"\d\d of 701 songs with 7.0 s of annotations"),
    ],
)
def test_a_wrong_file_is_refused_and_says_where_pmemo_comes_from(
    folder: Path, change: object, message: str
) -> None:
    assert callable(change)
    official.copy_table(folder / ANNOTATIONS_FILE, folder / ANNOTATIONS_FILE, change)
    with pytest.raises(CorpusError, match=f"{message}.*HuiZhangDB/PMEmo"):
        load_pmemo(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"dynamic_annotations.csv cannot be read.*HuiZhangDB"):
        load_pmemo(tmp_path)


def test_missing_recordings_are_named_with_their_place(folder: Path, tmp_path: Path) -> None:
    (folder / "chorus").mkdir()
    (folder / "chorus" / "1.mp3").touch()
    with pytest.raises(CorpusError, match=r"^700 of 701 pieces .*\(4, 5, 6, 7, 8, .*chorus/<id>"):
        extract_features(load_pmemo(folder), LogMelFrontend(), tmp_path / "cache")


def test_generated_recordings_of_the_true_lengths_train_and_evaluate(
    folder: Path, tmp_path: Path, durations_s: dict[str, float], quick_recipe: Recipe
) -> None:
    by_length = sorted(load_pmemo(folder).pieces, key=lambda piece: piece.curve.duration_s)
    chosen = [by_length[i].id for i in np.linspace(0, 700, 12).astype(int)]
    for name in chosen:
        official.write_mp3(folder / "chorus" / f"{name}.mp3", durations_s[name], int(name))
    corpus = official.only(load_pmemo(folder), chosen)
    frontend = LogMelFrontend()
    features = extract_features(corpus, frontend, tmp_path / "cache")
    for name in chosen:  # one row per whole patch of 0.96 s
        assert len(features[name]) == pytest.approx(durations_s[name] / 0.96, abs=1.2)

    short = replace(quick_recipe, epochs=10)
    bundle, figures = train_bundle(corpus, features, frontend, short, "bigru", seed=0)
    assert figures["retrieval"]["items"] == 2
    save_bundle(bundle, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert evaluate_bundle(loaded, held_out(loaded, corpus, features)) == figures
    shortest = decode((folder / "chorus" / f"{chosen[0]}.mp3").read_bytes())
    assert len(loaded.encode_recording(shortest).starts_s) == 1
