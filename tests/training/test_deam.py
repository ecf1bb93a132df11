"""DEAM in its official layout: the real annotations, the five real recordings, wrong folders."""

from __future__ import annotations

import csv
import logging
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle, save_bundle
from models.frontends import LogMelFrontend
from tests.training import official
from training.corpora.corpus import CorpusError, split_ids
from training.corpora.deam import (
    AROUSAL_FILE,
    SAMPLE_COLUMNS,
    VALENCE_FILE,
    load_deam,
)
from training.corpora.deam_raters import rater_spread
from training.features import extract_features
from training.pipeline import evaluate_bundle, held_out, train_bundle
from training.recipes import Recipe

RATED = "annotations/annotations per each rater/dynamic (per second annotations)"
REAL_RECORDINGS = ("3", "4", "8", "10", "17")


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """Copy the two files of annotations."""
    official.copy_folder(shared_data / "deam", tmp_path, (AROUSAL_FILE, VALENCE_FILE))
    return tmp_path


def test_all_songs_have_their_60_steps_from_15_s(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = load_deam(shared_data / "deam")
    assert len(corpus.pieces) == 1_802
    numbers = [int(piece.id) for piece in corpus.pieces]
    assert numbers == sorted(numbers)
    assert {(len(piece.curve.values), piece.start_s) for piece in corpus.pieces} == {(60, 15.0)}
    assert all(piece.rater_sd is None for piece in corpus.pieces)
    assert [p.id for p in corpus.pieces if p.audio is not None] == list(REAL_RECORDINGS)
    assert corpus.pieces[0].label == "The New Mystikal Troubadours - Tonight A Lonely Century"
    assert all(piece.label != piece.id for piece in corpus.pieces)
    assert not caplog.records


def test_curves_are_the_annotations_also_of_the_58_longer_songs(shared_data: Path) -> None:
    pieces = {piece.id: piece for piece in load_deam(shared_data / "deam").pieces}
    longer = 0
    for axis, path in (("arousal", AROUSAL_FILE), ("valence", VALENCE_FILE)):
        with (shared_data / "deam" / path).open(newline="") as file:
            for row in csv.DictReader(file):
                times_ms = range(15_000, 45_000, 500)
                expected = [float(row[f"sample_{time_ms}ms"]) for time_ms in times_ms]
                assert getattr(pieces[row["song_id"]].curve, axis).tolist() == expected
                longer += axis == "valence" and row["sample_45000ms"] != ""
    assert longer == 58


def test_the_published_runs_train_on_1441_songs(shared_data: Path) -> None:
    corpus = load_deam(shared_data / "deam")
    ids = [piece.id for piece in corpus.pieces]
    by_number = sorted(int(i) for i in ids)
    for seed in range(10):
        split = split_ids(ids, seed, corpus.train_share)
        assert [len(part) for part in (split.train, split.validation, split.test)] == [
            1225,
            216,
            361,
        ]
        order = np.random.default_rng(seed).permutation(1_802)
        trained = [str(by_number[i]) for i in order[:1_441]]
        assert [*split.train, *split.validation] == trained


def test_other_annotations_are_used_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def change(rows: official.Rows) -> official.Rows:
        rows[1][1] = "0.5"
        return rows

    official.copy_table(folder / AROUSAL_FILE, folder / AROUSAL_FILE, change)
    with caplog.at_level(logging.WARNING):
        corpus = load_deam(folder)
    assert corpus.pieces[0].curve.arousal[0] == 0.5
    (record,) = caplog.records
    assert "arousal.csv has another SHA-256" in record.getMessage()


def _without_columns(rows: official.Rows) -> official.Rows:
    return [row[:59] for row in rows]


def _without_songs(rows: official.Rows) -> official.Rows:
    return rows[:1_500]


def _with_gaps(rows: official.Rows) -> official.Rows:
    for row, wrong in ((1, ""), (2, "x"), (3, "nan"), (4, "1.01")):
        rows[row][60] = wrong
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_columns, "arousal.csv lacks columns: sample_44000ms, sample_44500ms"),
        (_without_songs, "songs in one of the two files only: "),
        (_with_gaps, r"4 songs without a value in \[-1, 1\] .*\(song_id 2, 3, 4, 5\)"),
    ],
)
def test_a_damaged_file_is_refused(folder: Path, change: object, message: str) -> None:
    assert callable(change)
    official.copy_table(folder / AROUSAL_FILE, folder / AROUSAL_FILE, change)
    with pytest.raises(CorpusError, match=message):
        load_deam(folder)


def test_one_message_names_all_that_is_missing_and_where_deam_comes_from(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError) as nothing:
        load_deam(tmp_path / "empty")
    for part in ("arousal.csv cannot be read", "valence.csv cannot be read", "cvml.unige.ch"):
        assert part in str(nothing.value)
    (folder / AROUSAL_FILE).unlink()
    official.copy_table(folder / VALENCE_FILE, folder / VALENCE_FILE, _without_columns)
    with pytest.raises(CorpusError) as partial:
        load_deam(folder)
    for part in ("arousal.csv cannot be read", "valence.csv lacks columns", "cvml.unige.ch"):
        assert part in str(partial.value)


def test_too_few_songs_are_refused(folder: Path) -> None:
    for path in (AROUSAL_FILE, VALENCE_FILE):
        official.copy_table(folder / path, folder / path, _without_songs)
    with pytest.raises(CorpusError, match="1,499 of 1,802 songs"):
        load_deam(folder)


def test_a_partial_folder_of_recordings_is_refused_only_to_be_heard(
    shared_data: Path, tmp_path: Path
) -> None:
    corpus = load_deam(shared_data / "deam")
    with pytest.raises(CorpusError) as refused:
        extract_features(corpus, LogMelFrontend(), tmp_path / "cache")
    said = str(refused.value)
    assert "1,797 of 1,802 pieces have no recording (2, 5, 7, 12, 13, ...)" in said
    assert "DEAM_audio.zip" in said
    assert "--features" in said


def test_the_official_folder_of_recordings_is_found_too(folder: Path) -> None:
    for name in ("MEMD_audio/2.mp3", "MEMD_audio/3.mp3", "audio/3.mp3", "MEMD_audio/4.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    found = {piece.id: piece.audio for piece in load_deam(folder).pieces if piece.audio}
    assert found == {"2": folder / "MEMD_audio" / "2.mp3", "3": folder / "audio" / "3.mp3"}


def _write_ratings(root: Path, axis: str, number: int, header: list[str], rows: object) -> None:
    path = root / RATED / axis / f"{number}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *np.asarray(rows, dtype=object).tolist()]
    path.write_text("\n".join(",".join(str(cell) for cell in line) for line in lines) + "\n")


def test_the_spread_of_raters_is_their_standard_deviation_at_each_step(folder: Path) -> None:
    rng = np.random.default_rng(0)
    columns = [*SAMPLE_COLUMNS, "sample_45000ms"]  # a song of 2015 goes on
    arousal = rng.uniform(-1, 1, (10, 61)).round(6)
    valence = rng.uniform(-1, 1, (7, 61)).round(6)
    named = [["A1B2", *row] for row in valence]
    _write_ratings(folder, "arousal", 2, columns, arousal)
    _write_ratings(folder, "valence", 2, ["WorkerId", *columns], named)
    _write_ratings(folder, "arousal", 3, columns, arousal)
    pieces = {piece.id: piece for piece in load_deam(folder).pieces}
    spread = pieces["2"].rater_sd
    assert spread is not None
    assert spread.shape == (60, 2)
    for step in range(60):
        assert spread[step, 0] == pytest.approx(statistics.stdev(valence[:, step]))
        assert spread[step, 1] == pytest.approx(statistics.stdev(arousal[:, step]))
    assert pieces["3"].rater_sd is None  # nobody's valence


def test_steps_with_fewer_than_two_raters_have_no_spread(tmp_path: Path) -> None:
    columns = ["sample_15500ms", "sample_15000ms"]
    for axis in ("arousal", "valence"):
        _write_ratings(tmp_path, axis, 7, columns, [[0.5, 0.1], ["", 0.3], ["NaN", 0.8]])
    spread = rater_spread(tmp_path, 7, ("sample_15000ms", "sample_15500ms", "sample_16000ms"))
    assert spread is not None
    assert spread[0].tolist() == pytest.approx([statistics.stdev([0.1, 0.3, 0.8])] * 2)
    assert np.isnan(spread[1:]).all()


def test_ratings_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for axis in ("arousal", "valence"):
        _write_ratings(tmp_path, axis, 7, list(SAMPLE_COLUMNS[:1]), [["high"]])
    with pytest.raises(CorpusError, match=r"7.csv: .*high"):
        rater_spread(tmp_path, 7, SAMPLE_COLUMNS)


def test_real_recordings_train_and_evaluate(
    folder: Path, shared_data: Path, tmp_path: Path, quick_recipe: Recipe
) -> None:
    recordings = [f"audio/{number}.mp3" for number in REAL_RECORDINGS]
    official.copy_folder(shared_data / "deam", folder, recordings)
    generated = ("2", "5", "7", "12", "13", "20", "2001")
    for number in generated:
        official.write_mp3(folder / "MEMD_audio" / f"{number}.mp3", 45.0, int(number))
    corpus = official.only(load_deam(folder), [*REAL_RECORDINGS, *generated])
    frontend = LogMelFrontend()
    features = extract_features(corpus, frontend, tmp_path / "cache")
    assert [len(features[number]) for number in REAL_RECORDINGS] == [46] * 5  # 44.5 to 45.1 s

    short = replace(quick_recipe, epochs=10)
    bundle, figures = train_bundle(corpus, features, frontend, short, "bigru", seed=0)
    assert figures["retrieval"]["items"] == 2
    save_bundle(bundle, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.manifest.corpus == "deam"
    again = extract_features(corpus, frontend, tmp_path / "cache")
    assert evaluate_bundle(loaded, held_out(loaded, corpus, again)) == figures
