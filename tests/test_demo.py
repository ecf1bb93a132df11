"""``circumplex demo`` whole: the corpus, the model that must be good enough, and the second run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import load_bundle
from training.corpora.corpus import split_ids
from training.corpora.loading import load_corpus


def _demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "demo", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=1_200,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Run the demo once, from nothing; returns its home, stdout and stderr."""
    home = tmp_path_factory.mktemp("demo") / "home"
    run = _demo(home, "--no-serve")
    assert run.returncode == 0, run.stderr
    return home, run.stdout, run.stderr


def test_the_model_is_good_enough_on_held_out_pieces(demo: tuple[Path, str, str]) -> None:
    home, printed, _ = demo
    bundle = load_bundle(home / "trained" / "demo")
    retrieval = bundle.manifest.metrics["retrieval"]
    assert retrieval["items"] == 60
    for direction in ("m2e", "e2m"):
        assert retrieval[direction]["mrr"] >= 0.35
        assert retrieval[direction]["ar"] <= 7
        assert f"{retrieval[direction]['mrr']:.3f}" in printed
    assert retrieval["chance"]["mrr"] == pytest.approx(0.078, abs=1e-3)
    assert bundle.manifest.metrics["arousal"]["spearman"] > 0.8
    assert bundle.manifest.metrics["valence"]["spearman"] > 0.6


def test_the_held_out_pieces_were_never_trained_on(demo: tuple[Path, str, str]) -> None:
    home, _, _ = demo
    bundle = load_bundle(home / "trained" / "demo")
    corpus = load_corpus("synthetic", home / "corpus")
    test = split_ids([piece.id for piece in corpus.pieces], 0, corpus.train_share).test
    assert len(corpus.pieces) == 240
    assert len(test) == 60
    assert not {item.id for item in bundle.references} & set(test)


def test_every_stage_shows_progress(demo: tuple[Path, str, str]) -> None:
    _, _, said = demo
    for stage in ("synthesising music", "extracting features", "training the towers", "Ingesting"):
        assert f"{stage}: " in said
    assert "240/240" in said


@pytest.fixture
def served_again(demo: tuple[Path, str, str]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """Start the demo a second time, serving on a free port; returns it and when it started."""
    command = [sys.executable, "-m", "cli.main", "demo", "--home", str(demo[0]), "--port", "0"]
    started_s = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    yield process, started_s
    process.terminate()
    process.communicate(timeout=30)


def test_a_second_run_finds_its_work_done(
    demo: tuple[Path, str, str], served_again: tuple[subprocess.Popen[str], float]
) -> None:
    bundle_id = load_bundle(demo[0] / "trained" / "demo").id
    process, started_s = served_again
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "serves http://127.0.0.1:" in line:
            break
    assert "serves http://127.0.0.1:" in said[-1]
    assert not any("training" in line or "extracting" in line for line in said)
    assert time.monotonic() - started_s < 60
    assert load_bundle(demo[0] / "trained" / "demo").id == bundle_id
