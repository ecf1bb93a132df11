"""The folds over sequences: what is compared, what each figure is, and records taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench import __main__ as command_line
from bench import estimate, sequences
from bench.folds import fold_splits
from models.attention import AttentionShape
from tests.test_bench import TINY, tiny_corpus
from training.corpora.corpus import Corpus
from training.examples import aligned_examples
from training.features import Features

RECIPE = replace(
    TINY,
    attention=AttentionShape(width=8, heads=2, layers=1),
    attention_widths=(8,),
    epochs=4,
    validate_every=2,
)


@pytest.fixture(scope="module")
def corpus() -> tuple[Corpus, Features]:
    return tiny_corpus(20)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def report(corpus: tuple[Corpus, Features], records: Path) -> dict[str, Any]:
    unlabelled = {"elsewhere": next(iter(corpus[1].values()))[::-1].copy()}
    return sequences.run(*corpus, unlabelled=unlabelled, folds=2, recipe=RECIPE, out=records)


def test_every_encoder_and_pre_trained_where_that_means_something(report: dict[str, Any]) -> None:
    names = [row["system"] for row in report["systems"]]
    assert names == ["mlp", "bigru", "attention", "bigru pretrained", "attention pretrained"]
    assert (report["pieces"], report["folds"], report["unlabelled_sequences"]) == (20, 2, 1)
    assert report["retrieval_items_per_fold"] == [10, 10]
    assert report["chance"]["ar"] == 5.5


def test_figures_are_those_of_the_records(report: dict[str, Any], records: Path) -> None:
    truth = {p.id: p.curve.values.mean(axis=0) for p in tiny_corpus(20)[0].pieces}
    for row in report["systems"]:
        name = row["system"].replace(" ", "-")
        folds = [json.loads((records / f"{name}-fold-{k}.json").read_text()) for k in (1, 2)]
        assert (folds[0]["pretraining"] is not None) == name.endswith("pretrained")
        pairs = {k: v for fold in folds for k, v in fold["estimates_and_truths"].items()}
        assert set(pairs) == set(truth)
        found, true = np.array(list(pairs.values())).transpose(1, 0, 2)
        np.testing.assert_allclose(true, [truth[piece_id] for piece_id in pairs])
        for column, axis in enumerate(("valence", "arousal")):
            error = found[:, column] - true[:, column]
            assert row[f"{axis}_rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
            assert row[f"{axis}_r2"] == pytest.approx(
                1 - np.sum(error**2) / np.sum((true[:, column] - true[:, column].mean()) ** 2)
            )
            assert row[f"{axis}_spearman"] == pytest.approx(
                spearmanr(found[:, column], true[:, column])[0]
            )
        for direction in ("m2e", "e2m"):
            mrr = [fold["retrieval"][direction]["mrr"] for fold in folds]
            assert row[f"{direction}_mrr"] == pytest.approx(np.mean(mrr))
            assert row[f"{direction}_mrr_sd"] == pytest.approx(abs(mrr[0] - mrr[1]) / np.sqrt(2))


def test_the_held_out_pieces_are_those_of_the_folds(
    report: dict[str, Any], records: Path, corpus: tuple[Corpus, Features]
) -> None:
    for number, split in enumerate(fold_splits([p.id for p in corpus[0].pieces], 2), start=1):
        record = json.loads((records / f"bigru-fold-{number}.json").read_text())
        assert set(record["estimates_and_truths"]) == set(split.test)


def test_records_are_taken_up_and_those_of_another_recipe_are_not(
    report: dict[str, Any],
    corpus: tuple[Corpus, Features],
    records: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = {path: path.read_text() for path in records.glob("mlp-*.json")}
    (lost, *_) = sorted(kept)
    lost.unlink()
    again = sequences.run(*corpus, encoders=("mlp",), folds=2, recipe=RECIPE, out=records)
    assert "training the towers" in capsys.readouterr().err
    untimed = {k: v for k, v in report["systems"][0].items() if k != "training_cpu_s_per_fold"}
    assert untimed.items() <= again["systems"][0].items()
    sequences.run(*corpus, encoders=("mlp",), folds=2, recipe=RECIPE, out=records)
    assert "training the towers" not in capsys.readouterr().err
    other = replace(RECIPE, learning_rate=2e-2)
    sequences.run(*corpus, encoders=("mlp",), folds=2, recipe=other, out=records)
    assert "of another recipe" in capsys.readouterr().err


def test_retrieval_sees_one_window_of_one_length(shared_data: Path) -> None:
    corpus, features = estimate.load_vgmidi(shared_data / "vgmidi")
    examples = [e for e in aligned_examples(corpus, features) if e.duration_s >= 30]
    assert 180 < len(examples) < 200
    for example in examples:
        cut = sequences.middle_window(example)
        assert cut.features.shape == (31, 1024)
        assert cut.curve.values.shape == (60, 2)
        ((patches, curve),) = cut.windows()
        np.testing.assert_array_equal(patches, cut.features)
        np.testing.assert_array_equal(curve.values, cut.curve.values)
        middle_step = int(example.duration_s - 30)
        np.testing.assert_array_equal(
            curve.values, example.curve.values[middle_step : middle_step + 60]
        )
        first_patch = int(np.flatnonzero((example.features == patches[0]).all(axis=1))[0])
        assert abs(first_patch * 0.96 - middle_step / 2) < 1.5


def test_the_command_passes_on_what_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_data: Path
) -> None:
    asked: dict[str, Any] = {}

    def run(corpus: Corpus, features: Features, **options: Any) -> dict[str, Any]:
        asked.update(options, pieces=len(corpus.pieces))
        return {}

    monkeypatch.setattr(sequences, "run", run)
    data = ["--data", str(shared_data / "vgmidi"), "--out", str(tmp_path), "--folds", "3"]
    command_line.main(["sequences", *data, "--encoder", "mlp", "attention", "--seed", "4"])
    assert asked == {
        "pieces": 200,
        "encoders": ["mlp", "attention"],
        "unlabelled": None,
        "folds": 3,
        "seed": 4,
        "out": tmp_path,
    }
