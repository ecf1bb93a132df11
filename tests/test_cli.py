"""The command line as a user types it: what it prints, and its exit status."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from models.bundle import load_bundle
from tests.training.conftest import audible_corpus

COMMANDS = [
    ["demo"],
    ["train"],
    ["evaluate"],
    ["ingest"],
    ["search"],
    ["search", "tracks"],
    ["search", "emotions"],
    ["index"],
    ["index", "build"],
    ["index", "verify"],
    ["serve"],
]


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder corpus of 24 pieces, without recordings, and its features."""
    root = tmp_path_factory.mktemp("corpus")
    corpus, features = audible_corpus(24)
    lines = ["id,time_s,arousal,valence"]
    for piece in corpus.pieces:
        for step, (valence, arousal) in enumerate(piece.curve.values):
            lines.append(f"{piece.id},{step / 2},{arousal},{valence}")
    (root / "curves.csv").write_text("\n".join(lines) + "\n")
    arrays: dict[str, Any] = dict(features)
    np.savez(root / "features.npz", **arrays)
    return root


@pytest.fixture(scope="module")
def deaf_bundle(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a real bundle on features alone, through the command line."""
    out = tmp_path_factory.mktemp("trained") / "bundle"
    assert main([*_train(corpus_folder), "--encoder", "mlp", "--out", str(out)]) == 0
    return out


def _train(corpus_folder: Path) -> list[str]:
    return [
        *("train", "--corpus", "folder", "--root", str(corpus_folder)),
        *("--features", str(corpus_folder / "features.npz")),
    ]


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command said on stderr, without progress: one line, no traceback."""
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("circumplex:")]
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: circumplex" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["search", "tracks"],
        ["search", "tracks", "--mood", "calm", "-k", "0"],
        ["search", "tracks", "--mood", "calm", "-k", "101"],
        ["search", "tracks", "--mood", "calm", "-k", "ten"],
        ["serve", "--port", "70000"],
        ["train", "--corpus", "unknown", "--root", ".", "--out", "x"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from cli.main import _parser; _parser(); print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_train_writes_a_bundle_and_reports_chance(
    deaf_bundle: Path, corpus_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load_bundle(deaf_bundle)
    assert bundle.manifest.corpus == "folder"
    assert not list(deaf_bundle.parent.glob("*.checkpoint*"))
    evaluate = ["evaluate", str(deaf_bundle), *_train(corpus_folder)[1:]]
    assert main(evaluate) == 0
    printed = capsys.readouterr().out
    assert "MRR" in printed
    assert "chance" in printed
    assert main([*evaluate, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == {"bundle": str(deaf_bundle), "id": bundle.id, **bundle.manifest.metrics}
    for axis in ("arousal", "valence"):  # to the last digit, and all of them
        assert {"rmse_of_means", "r2", "ccc", "covered_90", "means_covered_90"} <= set(
            figures[axis]
        )
        assert f"{figures[axis]['ccc']:.2f}" in printed


def test_training_again_gives_the_same_bundle(
    deaf_bundle: Path, corpus_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    assert main([*_train(corpus_folder), "--encoder", "mlp", "--out", str(out)]) == 0
    assert load_bundle(out).id == load_bundle(deaf_bundle).id


def test_a_bundle_without_frontend_cannot_ingest(
    deaf_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(
        ["ingest", str(tmp_path), "--home", str(tmp_path / "home"), "--bundle", str(deaf_bundle)]
    )
    assert status == 2
    assert "cannot hear recordings" in _one_line(capsys)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--root", "nowhere"], "needs curves.csv"),
        (["--features", "nowhere.npz"], "nowhere.npz"),
        (["--frontend", "yes"], "unknown frontend"),
        (["--frontend", "logmel", "--precision", "int16"], "only vggish has"),
        (["--frontend", "logmel"], "128"),
        (["--frontend", "nowhere.onnx"], "does not exist"),
    ],
)
def test_wrong_input_exits_with_2_and_one_line(
    change: list[str],
    message: str,
    corpus_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main([*_train(corpus_folder), "--out", str(tmp_path / "out"), *change])
    assert status == 2
    assert message in _one_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("corpus", "source"), [("deam", "cvml.unige.ch"), ("pmemo", "PMEmo")])
def test_an_official_corpus_that_is_not_there_says_where_it_comes_from(
    corpus: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--corpus", corpus, "--root", str(tmp_path), "--out", str(tmp_path / "b")]
    assert main(arguments) == 2
    said = _one_line(capsys)
    assert "cannot be read" in said
    assert source in said


def test_recordings_that_are_not_there_say_where_they_come_from(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(shared_data / "deam")
    arguments = ["train", "--corpus", "deam", "--root", root, "--out", str(tmp_path / "b")]
    assert main(arguments) == 2
    said = _one_line(capsys)
    assert "1,797 of 1,802 pieces have no recording" in said
    assert "DEAM_audio.zip" in said


def test_a_home_without_model_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--home", str(tmp_path)]) == 1
    assert "circumplex train" in _one_line(capsys)


@pytest.fixture(scope="module")
def home(
    tiny_bundle_folder: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Ingest three real recordings and a broken one through the command line."""
    folder = tmp_path_factory.mktemp("cli")
    music = folder / "music"
    music.mkdir()
    for name in ("pop-83.mp3", "classical-3.mp3", "rock-12.mp3"):
        shutil.copy(shared_data / "recordings" / name, music)
    (music / "broken.mp3").write_text("no music")
    home = folder / "home"
    command = ["ingest", str(music), "--home", str(home), "--bundle", str(tiny_bundle_folder)]
    assert main(command) == 0
    return home


def test_ingest_skips_what_it_has_and_lists_what_fails(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", str(home.parent / "music"), "--home", str(home), "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["added"], report["skipped"]) == (0, 3)
    assert [Path(failed["path"]).name for failed in report["failed"]] == ["broken.mp3"]
    assert "not used:" in said.err
    assert (report["tracks_per_s"], report["times_real_time"]) == (0, 0)  # nothing was heard
    assert report["cores_busy"] > 0


def test_a_setting_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CIRCUMPLEX_COMPACT_AFTER", "-1")
    monkeypatch.setenv("CIRCUMPLEX_INDEX_PRECISION", "double")
    assert main(["index", "build", "--home", str(tmp_path / "home")]) == 2
    said = _one_line(capsys)
    for words in ("CIRCUMPLEX_COMPACT_AFTER=-1: ", "CIRCUMPLEX_INDEX_PRECISION=double: ", "'half'"):
        assert words in said
    assert "pydantic" not in said
    assert not (tmp_path / "home").exists()


def test_ingest_says_how_fast_it_was(
    tiny_bundle_folder: Path,
    real_recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["ingest", str(real_recording), "--home", str(tmp_path / "home")]
    assert main([*command, "--bundle", str(tiny_bundle_folder)]) == 0
    speed = capsys.readouterr().out.splitlines()[-1]
    found = re.fullmatch(r"1 heard in (.+) s: (.+) tracks/s, (.+) x real time", speed)
    assert found, speed
    wall_s, tracks_per_s, times_real_time = map(float, found.groups())
    # The time is rounded to a tenth, the speed to three digits.
    assert 1 / (wall_s + 0.05) - 0.05 <= tracks_per_s + 1e-9
    assert tracks_per_s <= 1 / max(wall_s - 0.05, 1e-3) + 0.05
    assert times_real_time > 10 * tracks_per_s  # it lasts 30 to 60 s


def test_search_tracks_by_mood_and_by_curve(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "tracks", "--mood", "calm", "--home", str(home), "--json"]) == 0
    by_mood = json.loads(capsys.readouterr().out)
    assert len(by_mood["results"]) == 3
    curve = tmp_path / "calm.json"
    angle = np.deg2rad(316.2)
    curve.write_text(json.dumps({"arousal": [np.sin(angle)] * 60, "valence": [np.cos(angle)] * 60}))
    assert main(["search", "tracks", "--curve", str(curve), "--home", str(home), "--json"]) == 0
    by_curve = json.loads(capsys.readouterr().out)
    assert [r["track"]["id"] for r in by_curve["results"]] == [
        r["track"]["id"] for r in by_mood["results"]
    ]
    assert main(["search", "tracks", "--mood", "calm", "-k", "2", "--home", str(home)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no curve"),
        ("[1]", "is no curve: body: "),
        ('{"arousal": [0]}', "is no curve: valence: Field required"),
        ('{"arousal": [0], "valence": [0], "x": 1}', "is no curve: x: there is no such field"),
        ('{"arousal": [0, 2], "valence": [0, 0]}', "arousal[1]"),
        ('{"arousal": [], "valence": []}', "0 points"),
    ],
)
def test_wrong_curves_exit_with_2(
    text: str, message: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = tmp_path / "curve.json"
    curve.write_text(text)
    assert main(["search", "tracks", "--curve", str(curve), "--home", str(home)]) == 2
    assert message in _one_line(capsys)


def test_search_emotions_estimates_a_recording(
    home: Path, real_recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", "emotions", str(real_recording), "-k", "4", "--home", str(home)]
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["results"]) == 4
    assert -1 <= answer["estimate"]["arousal"] <= 1
    assert main(command) == 0
    assert answer["estimate"]["mood"] in capsys.readouterr().out


def test_search_emotions_of_no_recording_exits_with_2(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "emotions", str(tmp_path / "none.mp3"), "--home", str(home)]) == 2
    assert "none.mp3" in _one_line(capsys)
    text = tmp_path / "text.mp3"
    text.write_text("no music")
    assert main(["search", "emotions", str(text), "--home", str(home)]) == 2
    assert "no recording" in _one_line(capsys)


def test_an_unknown_mood_lists_the_known_ones(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "tracks", "--mood", "nope", "--home", str(home)]) == 2
    assert "serene" in _one_line(capsys)


def test_index_verifies_and_builds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "verify", "--home", str(home), "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified["recall"] == 1.0
    assert verified["tracks"] == 3
    assert main(["index", "build", "--home", str(home)]) == 0
    assert "3 tracks" in capsys.readouterr().out
