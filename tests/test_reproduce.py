"""``circumplex reproduce`` as a user types it: real annotations, kills, honest labels."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from training.corpora.pmemo import load_pmemo

_QUICK = ["--recipe", "cmer-cl", "--quick", "--runs", "1", "--workers", "1"]


@pytest.fixture(scope="module")
def generated_features(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write noise as features of PMEmo's clips, in their true lengths."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for piece in load_pmemo(shared_data / "pmemo").pieces:
        patches = int((piece.start_s + piece.curve.duration_s) / 0.96)
        arrays[piece.id] = rng.normal(size=(patches, 4)).astype(np.float32)
    path = tmp_path_factory.mktemp("generated") / "noise.npz"
    np.savez(path, **arrays)
    return path


def _deam(shared_data: Path, out: Path) -> list[str]:
    root = shared_data / "deam"
    features = root / "features_song_level_opensmile.csv"
    arguments = ["reproduce", "deam", "--root", str(root), "--features", str(features)]
    return [*arguments, "--out", str(out), *_QUICK]


def _pmemo(shared_data: Path, features: Path, out: Path) -> list[str]:
    arguments = ["reproduce", "pmemo", "--root", str(shared_data / "pmemo")]
    return [*arguments, "--features", str(features), "--generated", "--out", str(out), *_QUICK]


def test_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", "--help"])
    assert stopped.value.code == 0
    assert "goes on where it stopped" in " ".join(capsys.readouterr().out.split())


@pytest.fixture(scope="module")
def deam_out(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reproduce one row on DEAM, with its real curves and features."""
    out = tmp_path_factory.mktemp("reproduced") / "deam"
    assert main([*_deam(shared_data, out), "--seed", "11"]) == 0
    return out


def test_deam_gives_tables_figures_and_their_configuration(deam_out: Path) -> None:
    assert "a quick schedule" in (deam_out / "tables.md").read_text()
    configuration = json.loads((deam_out / "config.json").read_text())
    assert configuration["seeds"] == [11]
    assert configuration["protocols"][0]["pieces"] == 1_802
    assert configuration["environment"]["versions"]["torch"]
    (record,) = (deam_out / "records").rglob("*.json")
    assert record.name == "11.json"
    figures = sorted(path.name for path in (deam_out / "figures").iterdir())
    assert figures == ["cosines-length-blind.png", "cosines-length-blind.svg"]


def test_again_it_trains_nothing_and_prints_the_same(
    deam_out: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = (deam_out / "records").rglob("*.json")
    written = record.stat().st_mtime_ns
    assert main([*_deam(shared_data, deam_out), "--seed", "11", "--json"]) == 0
    assert record.stat().st_mtime_ns == written
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"cmer-cl"}
    for way in ("m2e", "e2m"):
        assert found["cmer-cl"][way]["mrr"] > 0.018  # chance
        assert found["cmer-cl"][way]["ar"] < 181
    mean = f"{found['cmer-cl']['m2e']['mrr']:.3f} ±"
    assert mean in (deam_out / "tables.md").read_text()


def test_killed_it_goes_on_where_it_stopped(
    shared_data: Path,
    generated_features: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = _pmemo(shared_data, generated_features, killed)
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 600
    while not list(killed.rglob("records/**/*.json")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (first,) = killed.rglob("records/**/*.json")
    written = first.stat().st_mtime_ns
    assert not (killed / "tables.md").exists()

    assert main(arguments) == 0
    assert first.stat().st_mtime_ns == written
    assert main(_pmemo(shared_data, generated_features, whole)) == 0
    assert (killed / "tables.json").read_text() == (whole / "tables.json").read_text()
    printed = capsys.readouterr().out
    assert "(true-lengths)" in printed
    assert "(length-blind)" in printed
    _check_the_leak(whole)


def _check_the_leak(out: Path) -> None:
    """The length-only baseline stands in both tables, and tells nothing where lengths are cut."""
    lines = {
        (line["system"], line["protocol"]): line["evaluations"]["correct"]["m2e"]
        for line in json.loads((out / "tables.json").read_text())["lines"]
    }
    assert lines["length-only", "true-lengths"]["mrr"] > 0.45
    assert lines["length-only", "length-blind"]["ar"] == 71  # chance of 141
    tables = (out / "tables.md").read_text()
    assert "**Generated recordings: nothing here is a result about music.**" in tables
    assert "compare the length-only rows" in tables


def test_without_matplotlib_all_but_the_figures_is_written(
    deam_out: Path, shared_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(deam_out / "records", tmp_path / "records")
    hide = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'matplotlib' else find(name, *more)\n"
        "from cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", hide, *_deam(shared_data, tmp_path), "--seed", "11"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert "circumplex[research]" in ended.stderr
    assert (tmp_path / "tables.md").exists()
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quick", "--schedule", "published"], "--schedule published"),
        (["--features", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_wrong_input_is_one_line_and_exits_with_2(
    arguments: list[str],
    said: str,
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = str(shared_data / "deam")
    assert main(["reproduce", "deam", "--root", root, "--out", str(tmp_path), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
