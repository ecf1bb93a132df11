"""A whole reproduction in small: every row trained, every table and figure written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.test_experiments import TINY
from training.corpora.corpus import Corpus
from training.experiments.folder import by_system, draw_figures, write_tables
from training.experiments.material import Material, one_length
from training.experiments.reproduce import Plan, reproduce
from training.experiments.summary import Summary, spread, summarise
from training.experiments.systems import systems_of
from training.experiments.tables import About, markdown
from training.features import Features

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def material(audible: tuple[Corpus, Features]) -> Material:
    """Return the small audible corpus in DEAM's place: it has its rows, and sequences."""
    whole = one_length(*audible)
    curves = np.ascontiguousarray(whole.curves[:, ::6])
    lengths = np.full(len(whole.ids), 10)
    return replace(whole, corpus="deam", curves=curves, curve_lengths=lengths)


@pytest.fixture(scope="module")
def plan(material: Material) -> Plan:
    """Return everything but our recipe, in the coarse grids."""
    schedule = replace(TINY, epochs=1)
    return Plan(schedule, (material,), tuple(systems_of("deam", quick=True)), (0, 1, 2))


@pytest.fixture(scope="module")
def summary(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Train it all."""
    out = tmp_path_factory.mktemp("whole")
    return summarise(plan, reproduce(plan, out, workers=1, device=CPU))


def test_every_system_has_a_line(plan: Plan, summary: Summary) -> None:
    keys = [line.system for line in summary.lines]
    assert keys == [
        *(system.key for system in plan.systems),
        "campaign-only",
        "length-only",
        "chance",
    ]
    assert not summary.lacking
    assert {line.runs for line in summary.lines} == {3}


def test_every_weight_is_shown_correct_and_as_published(plan: Plan, summary: Summary) -> None:
    text = markdown(plan, summary, About("tones", generated=False))
    for heading in (
        "The systems (Tables 1, 2, 5 and 6",
        "Every λ, α = 1, the paper's loss (Figs. 3 and 4",
        "Every λ, α = 1, the published code's loss (Figs. 3 and 4",
        "Every α, λ = 0.8",
        "Both signs of the margin",
        "Average cosine similarity of the top 5 % (Fig. 5",
    ):
        assert f"### {heading}" in text
    assert text.count("as published (KL transposed): M2E") == 2
    grids = re.findall(r"(?m)^\| (0|0\.5|0\.8|1) \|.*$", text)
    assert grids == ["0", "0.5", "0.8", "1"] * 2
    assert "0.108 / 60.9 · 0.105 / 62.0" in text
    assert "not at hand" in text
    assert all(TINY.title in line for line in text.splitlines() if line.startswith("### "))
    assert "Generated" not in text
    assert "**Generated" in markdown(plan, summary, About("tones", generated=True))


def test_the_paper_stands_beside_its_own_rows_only(summary: Summary) -> None:
    beside = {line.system: line.paper for line in summary.lines if line.paper}
    assert beside == {
        "cmer-cl-mlp-w0.8-m1": {"m2e": (0.108, 60.9), "e2m": (0.105, 62.0)},
        "cmer-cl-mlp-w0-m1": {"m2e": (0.067, 69.6)},
    }


def test_figures_are_drawn_as_png_and_svg(plan: Plan, summary: Summary, tmp_path: Path) -> None:
    draw_figures(plan, summary, tmp_path)
    drawn = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert drawn == [
        f"{name}-length-blind.{kind}"
        for name in ("alpha", "cosines", "lambda")
        for kind in ("png", "svg")
    ]
    svg = (tmp_path / "figures" / "lambda-length-blind.svg").read_text()
    assert "</svg>" in svg


def test_programs_read_what_people_read(plan: Plan, summary: Summary, tmp_path: Path) -> None:
    write_tables(plan, summary, About("tones", generated=False), tmp_path)
    lines = json.loads((tmp_path / "tables.json").read_text())["lines"]
    found = by_system(summary)
    assert set(found) == {line["system"] for line in lines}
    for line in lines:
        entry = found[line["system"]]
        assert isinstance(entry, dict)
        for way, metrics in line["evaluations"]["correct"].items():
            assert entry[way] == metrics


def test_without_sequences_rows_say_that_they_need_them(plan: Plan, tmp_path: Path) -> None:
    material = plan.materials[0]
    vectors = replace(
        material,
        features=material.mean_features(),
        feature_lengths=np.ones_like(material.feature_lengths),
    )
    needy = tuple(x for x in plan.systems if x.needs_sequences)
    assert {x.key for x in needy} >= {"cmer-cl-bigru-w0.5-m1", "reg-bigru-m2e"}
    poor = replace(plan, materials=(vectors,), systems=needy)
    summary = summarise(poor, reproduce(poor, tmp_path, workers=1, device=CPU))
    assert [row.system for row in summary.lacking] == [x.key for x in needy]
    text = markdown(poor, summary, About("tones", generated=False))
    assert text.count("*needs sequences of features*") == len(needy)


def test_a_break_between_rows_costs_nothing(plan: Plan, summary: Summary, tmp_path: Path) -> None:
    some = replace(plan, systems=plan.systems[:2], seeds=(0, 1))
    reproduce(some, tmp_path, workers=1, device=CPU)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("records/**/*.json")}
    assert len(written) == 4
    more = replace(plan, systems=plan.systems[:3])
    again = summarise(more, reproduce(more, tmp_path, workers=1, device=CPU))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    for line, before in zip(again.lines[:3], summary.lines[:3], strict=True):
        for way in ("m2e", "e2m"):
            found, wanted = (x.evaluations["correct"][way] for x in (line, before))
            assert found["mrr"] == pytest.approx(wanted["mrr"], abs=0.02)


def test_spread_is_mean_and_deviation_over_runs() -> None:
    runs = [{"mrr": mrr, "ar": 2 * mrr, "recall_at_10": 1.0} for mrr in (0.1, 0.2, 0.4)]
    found = spread(runs)  # type: ignore[arg-type]
    assert found["mrr"] == pytest.approx(0.7 / 3)
    assert found["mrr_sd"] == pytest.approx(np.std([0.1, 0.2, 0.4], ddof=1))
    assert found["ar_sd"] == pytest.approx(2 * found["mrr_sd"])
    assert spread(runs[:1])["mrr_sd"] == 0  # type: ignore[arg-type]
