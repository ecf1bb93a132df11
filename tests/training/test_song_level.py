"""Training on one vector a song: DEAM's table, and a bundle that hears recordings all the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from models.audio import decode
from models.bundle import load_bundle
from training.corpora.deam import load_deam
from training.recipes import RECIPES, Recipe


@pytest.fixture(scope="module")
def songs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 songs of DEAM as a folder corpus, so that a training takes seconds."""
    root = tmp_path_factory.mktemp("songs")
    lines = ["id,time_s,arousal,valence"]
    for piece in load_deam(shared_data / "deam").pieces[:40]:
        for step, (valence, arousal) in enumerate(piece.curve.values):
            lines.append(f"{piece.id},{step / 2},{arousal},{valence}")
    (root / "curves.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def command(
    songs: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, quick_recipe: Recipe
) -> list[str]:
    recipe = replace(quick_recipe, name="circumplex", epochs=10)
    monkeypatch.setitem(RECIPES, "circumplex", recipe)
    table = shared_data / "deam" / "features_song_level_opensmile.csv"
    corpus = ("--corpus", "folder", "--root", str(songs), "--features", str(table))
    return ["train", *corpus, "--out", str(songs / "bundle")]


def test_a_table_by_its_names_and_a_bundle_that_answers_uploads(
    command: list[str], songs: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--frontend", "opensmile"]) == 0
    assert "encoder is an MLP, since --features has one vector a song" in capsys.readouterr().out
    bundle = load_bundle(songs / "bundle")
    assert bundle.manifest.frontend is not None
    assert bundle.manifest.frontend["name"] == "opensmile"

    recording = decode(
        (shared_data / "deam" / "audio" / "10.mp3").read_bytes(), rate_hz=bundle.hearing_rate_hz
    )
    heard = bundle.encode_recording(recording)
    estimate = bundle.estimator.estimate(heard.encodings, heard.starts_s, recording.duration_s)
    assert heard.ends_s == pytest.approx([30.0, recording.duration_s])
    assert len(estimate.curve.values) == pytest.approx(2 * recording.duration_s, abs=1)
    assert np.ptp(estimate.curve.values, axis=0).min() > 0  # both windows were heard

    evaluate = ["evaluate", str(songs / "bundle"), *command[1:7], "--json"]
    assert main(evaluate) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["retrieval"] == bundle.manifest.metrics["retrieval"]


@pytest.mark.parametrize("encoder", ["bigru", "attention"])
def test_encoders_of_sequences_are_refused(
    command: list[str], encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--encoder", encoder]) == 2
    said = capsys.readouterr().err
    assert f"one vector a song, and --encoder {encoder} reads sequences: use --encoder mlp" in said


def test_pretraining_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--pretrain", "music.npz"]) == 2
    assert "--pretrain needs a sequence" in capsys.readouterr().err


def test_another_table_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.csv").write_text("song_id,f1,f2\n2,1,2\n")
    other = [*command, "--frontend", "opensmile", "--features", str(tmp_path / "f.csv")]
    assert main(other) == 2
    assert "lacks 101 of the 101 columns that the frontend gives" in capsys.readouterr().err
