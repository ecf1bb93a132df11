"""Benchmarks give the figures they promise, on tiny inputs. No test here says how fast to be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import __main__ as command_line
from bench import e2m, estimate, ladder, logmel, m2e
from bench.folds import fold_splits
from bench.material import mp3, wandering_curve
from bench.timing import DisagreementError, medians_ms, require_close
from models.audio import decode
from training.corpora.corpus import Corpus, Piece
from training.features import Features
from training.recipes import CIRCUMPLEX, COMMITTEE

TINY = replace(
    CIRCUMPLEX,
    dimensions=8,
    bigru_recurrent=4,
    bigru_widths=(8,),
    dropout=0.0,
    committee=replace(COMMITTEE, members=2, width=8),
    learning_rate=1e-2,
    epochs=20,
    least_steps=0,
    validate_every=5,
    averaging=0.0,
)


def figures(report: Any) -> Iterator[float]:
    """Every number of a report, but for what the machine says of itself."""
    if isinstance(report, dict):
        for name, value in report.items():
            if name != "machine":
                yield from figures(value)
    elif isinstance(report, list):
        for value in report:
            yield from figures(value)
    elif isinstance(report, int | float):
        yield float(report)


def assert_positive(report: Any) -> None:
    found = list(figures(report))
    assert found
    assert all(math.isfinite(figure) and figure > 0 for figure in found), report


def tiny_corpus(pieces: int = 20) -> tuple[Corpus, Features]:
    """Curves, and features that tell each curve's course."""
    rng = np.random.default_rng(3)
    made, features = [], {}
    for number in range(pieces):
        curve = wandering_curve(rng, 66)
        piece_id = f"piece-{number:02}"
        made.append(Piece(piece_id, piece_id, curve, 0.0, None))
        seen = np.repeat(curve.values[:66:2], 3, axis=1)
        features[piece_id] = (seen + rng.normal(0, 0.05, seen.shape)).astype(np.float32)
    return Corpus("tiny", "none", "", tuple(made)), features


class TestTiming:
    def test_functions_take_turns_after_a_warm_up(self) -> None:
        calls: list[str] = []
        times = medians_ms({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
        assert "".join(calls) == "ababab"
        assert set(times) == {"a", "b"}
        assert_positive(times)

    def test_disagreement_is_an_error(self) -> None:
        assert require_close("sums", [1.0, 2.0], [1.0, 2.5], 0.5) == 0.5
        for other in ([1.0, 2.6], [1.0], [1.0, math.nan]):
            with pytest.raises(DisagreementError, match="sums"):
                require_close("sums", [1.0, 2.0], other, 0.5)


class TestSpeed:
    def test_logmel(self) -> None:
        report = logmel.run(durations_s=(1.5,), rounds=1)
        assert_positive(report)
        (row,) = report["recordings"]
        assert row["largest_difference"] <= 1e-4
        ratio = row["torchvggish_ms"] / row["here_ms"]
        assert row["torchvggish_over_here"] == pytest.approx(ratio)

    @pytest.mark.filterwarnings("ignore:.* is deprecated and slated for removal:DeprecationWarning")
    def test_m2e(self) -> None:
        report = m2e.run(duration_s=3.0, rounds=1, tracks=6)
        assert_positive(report)
        stages = ("decode", "features", "towers", "rank", "estimate", "whole")
        assert {f"{stage}_ms" for stage in stages} <= set(report)
        assert report["frontend"] == "logmel"
        assert report["machine"]["torch_threads"] >= 1
        peers_ms = report["librosa_decode_ms"] + report["torchvggish_log_mel_ms"]
        ratio = peers_ms / (report["decode_ms"] + report["features_ms"])
        assert report["peers_over_decode_and_features"] == pytest.approx(ratio)

    def test_e2m(self) -> None:
        # More windows than are first proposed, so that the search engine is asked.
        report = e2m.run(curves=2, loop_windows=4, rounds=1, tracks=50)
        assert_positive(report)
        assert (report["tracks"], report["windows"], report["query_windows"]) == (50, 100, 2)
        ratio = report["definition_ms"] / report["retrieval_ms"]
        assert report["definition_over_retrieval"] == pytest.approx(ratio)

    def test_answers_that_differ_are_an_error(self) -> None:
        expected = [("a", 0.5), ("b", 0.25)]
        e2m._require_same("it", expected, expected)
        for other in ([("b", 0.5), ("a", 0.25)], [("a", 0.5), ("b", 0.251)]):
            with pytest.raises(DisagreementError):
                e2m._require_same("it", other, expected)

    def test_the_mp3_is_one_that_the_service_takes(self) -> None:
        recording = decode(mp3(2.0))
        assert (recording.sample_rate_hz, recording.channels) == (44_100, 2)
        assert recording.format == "mp3"
        assert recording.duration_s == pytest.approx(2.0, abs=0.1)
        assert mp3(1.0) == mp3(1.0)


class TestQuality:
    def test_estimate(self) -> None:
        corpus, features = tiny_corpus()
        report = estimate.run(corpus, features, encoders=("mlp",), folds=2, recipe=TINY)
        assert (report["pieces"], report["folds"]) == (20, 2)
        for system in ("ridge", "mlp"):
            for axis in ("valence", "arousal"):
                assert report[system][axis]["rmse"] > 0
                assert -1 <= report[system][axis]["spearman"] <= 1
        # The features tell the curves, so the peer must find them: no straw man.
        assert report["ridge"]["arousal"]["spearman"] > 0.9
        assert report["ridge"]["valence"]["spearman"] > 0.9
        beside = report["beside_ridge"]["mlp"]["valence"]
        ratio = report["mlp"]["valence"]["rmse"] / report["ridge"]["valence"]["rmse"]
        assert beside["rmse_over_ridge"] == pytest.approx(ratio)

    def test_the_ridge_never_sees_what_it_is_asked(self) -> None:
        rng = np.random.default_rng(0)
        means, truth = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
        training, held_out = np.arange(20), np.arange(20, 30)
        estimates = estimate._ridge(means, truth, training, held_out)
        truth[20:] += 100
        assert np.array_equal(estimates, estimate._ridge(means, truth, training, held_out))

    def test_folds_hold_every_piece_out_once(self) -> None:
        ids = [f"{number:03}" for number in range(125)]
        splits = fold_splits(ids, 5)
        assert sorted(i for split in splits for i in split.test) == ids
        for split in splits:
            assert (len(split.train), len(split.validation), len(split.test)) == (85, 15, 25)
            assert sorted([*split.train, *split.validation, *split.test]) == ids
        assert splits == fold_splits(ids, 5)

    def test_ladder(self) -> None:
        corpus, features = tiny_corpus(60)
        song_level = {i: array.mean(axis=0, keepdims=True) for i, array in features.items()}
        quick = replace(CIRCUMPLEX, epochs=10, least_steps=0)
        chosen: dict[str, ladder.Rung] = {
            "kernel": ladder._kernel_rung,
            "recipe": ladder._trained(quick),
            "transposed": ladder._transposed(quick),
        }
        report = ladder.run(corpus, song_level, chosen=chosen, folds=2)
        assert report["pieces_of_a_fold"] == [24, 24]
        assert [row["rung"] for row in report["rungs"]] == list(chosen)
        for row in report["rungs"][:2]:
            assert row["m2e_mrr"] > report["chance_mrr"]
            assert row["m2e_ar"] == row["m2e_ar_in_campaign"] < report["chance_ar"]
        assert len(ladder.rungs()) == 9


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = lambda options: logmel.run(durations_s=(1.0, 2.0), rounds=options.rounds)  # noqa: E731
        monkeypatch.setitem(command_line._BENCHMARKS, "logmel", run)

    def test_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        command_line.main(["logmel", "--rounds", "1", "--json"])
        reports = json.loads(capsys.readouterr().out)
        assert set(reports) == {"logmel"}
        assert_positive(reports["logmel"])

    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        command_line.main(["logmel", "--rounds", "1"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "logmel"
        assert any(line.strip().startswith("torch_threads") for line in lines)
        table = [line for line in lines if line.lstrip()[:1].isdigit() or "here_ms" in line]
        assert len({len(line) for line in table}) == 1
        assert len(table) == 3

    def test_an_unknown_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            command_line.main(["nothing"])
        assert stopped.value.code == 2
        assert "'nothing' is none of m2e, e2m" in capsys.readouterr().err
