"""The tables as Markdown, beside the paper's own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.experiments.evaluate import TITLES, WITHIN_CAMPAIGN, EvaluationName
from training.experiments.material import Material
from training.experiments.paper import COSINES, NOT_AT_HAND, REMARKS
from training.experiments.reproduce import Plan
from training.experiments.schedules import Schedule
from training.experiments.summary import Lacking, Line, Spread, Summary
from training.experiments.systems import (
    CHOSEN,
    DIRECTIONS,
    LOSSES,
    RecipeSystem,
    System,
    both_signs,
    compared,
    every_margin,
    every_weight,
)

_METRICS = "MRR and AR (average rank) are means ± standard deviations over runs."


@dataclass(frozen=True)
class About:
    """What a reader must know of all tables: where the music's features come from."""

    features: str
    generated: bool


def markdown(plan: Plan, summary: Summary, about: About) -> str:
    """Write every table of a reproduction."""
    corpus = plan.materials[0].corpus
    seeds = f"{plan.seeds[0]} to {plan.seeds[-1]}" if len(plan.seeds) > 1 else f"{plan.seeds[0]}"
    parts = [
        f"# CMER-CL on {_title(corpus)}, reproduced",
        f"Schedule: **{plan.schedule.title}** ({plan.schedule.epochs:,} epochs at "
        f"{plan.schedule.learning_rate:g}, D = {plan.schedule.dimensions:,}). "
        f"Runs: {len(plan.seeds)}, seeds {seeds}. Music: {about.features}. {_METRICS}",
        REMARKS[corpus],
    ]
    if any(isinstance(system, RecipeSystem) for system in plan.systems):
        parts.append("Recipes of the house are trained by their own schedules, in every case.")
    if about.generated:
        parts.insert(1, "**Generated recordings: nothing here is a result about music.**")
    for material in plan.materials:
        parts += _protocol(plan, summary, material)
    return "\n\n".join(parts) + "\n"


def _protocol(plan: Plan, summary: Summary, material: Material) -> list[str]:
    """Write the tables of one protocol, as far as the plan has rows for them."""
    corpus, label = material.corpus, plan.schedule.title
    lines = {x.system: x for x in summary.lines if x.protocol == material.protocol}
    lacking = {x.system: x for x in summary.lacking if x.protocol == material.protocol}

    def rows_of(systems: Sequence[System]) -> list[Line | Lacking]:
        return [lines.get(system.key) or lacking[system.key] for system in systems]

    main = rows_of(compared(plan.systems, corpus))
    parts = [
        f"## {_title(corpus)}, {material.protocol.replace('-', ' ')}",
        f"{len(material.ids):,} pieces: {material.what}.",
        f"### The systems (Tables 1, 2, 5 and 6 of the paper; {label})",
        _compared([*main, lines["length-only"], lines["chance"]]),
        _regression_note(plan.schedule),
    ]
    campaigns = sorted(set(material.campaigns))
    if len(campaigns) > 1:
        parts += [
            f"### The campaign leak ({label})",
            f"Annotated in {len(campaigns)} campaigns ({', '.join(campaigns)}), which features and "
            "curves tell both; ranked among all held-out pieces, and among those of the query's "
            "own campaign.",
            _within_campaign([*main, lines["campaign-only"]]),
        ]
    weight, margin = CHOSEN[corpus]
    for loss, name in LOSSES.items():
        grid = every_weight(plan.systems, corpus, loss)
        if len(grid) > 1:
            parts += [
                f"### Every λ, α = {margin:g}, {name} (Figs. 3 and 4; {label})",
                _evaluated([x.weight for x in grid], rows_of(grid)),
            ]
    alphas = every_margin(plan.systems, corpus)
    if len(alphas) > 1:
        parts += [f"### Every α, λ = {weight:g} ({label})", _compared(rows_of(alphas))]
    signs = both_signs(plan.systems, corpus)
    if signs:
        parts += [f"### Both signs of the margin ({label})", _compared(rows_of(signs))]
    trained = [row for row in main if isinstance(row, Line)]
    return [
        *parts,
        f"### Average cosine similarity of the top 5 % (Fig. 5; {label})",
        _cosine_table(corpus, trained),
    ]


def _regression_note(schedule: Schedule) -> str:
    widths = ", ".join(str(width) for width in schedule.regression_widths)
    printed = ", ".join(str(width) for width in schedule.e2m_widths)
    return (
        "RegMLP predicts means from means, RegBiGRU reads sequences. Candidates are ranked by the "
        "prediction, standardised by the training part: M2E by mean squared distance, E2M by "
        "cosine, each the better one on validation pieces. Of the widths in Tables 3 and 4 only "
        f"RegMLP-E2M's, [{printed}], were at hand; the other hidden "
        f"layers are ours: [{widths}], behind {schedule.regression_recurrent} units each way in a "
        "BiGRU. An output layer of the target's size follows."
    )


def _compared(rows: Sequence[Line | Lacking]) -> str:
    header = ["system", "M2E MRR", "M2E AR", "E2M MRR", "E2M AR", "the paper: M2E · E2M"]
    body = []
    for row in rows:
        if isinstance(row, Lacking):
            body.append([row.label, f"*{row.why}*", "", "", "", ""])
            continue
        found = row.evaluations["correct"]
        cells = [cell for way in DIRECTIONS for cell in _cells(found.get(way))]
        body.append([row.label, *cells, _paper(row)])
    return _table(header, body)


def _evaluated(weights: Sequence[float], rows: Sequence[Line | Lacking]) -> str:
    names: list[EvaluationName] = list(TITLES)
    header = ["λ", *(f"{TITLES[name]}: {way}" for name in names for way in ("M2E", "E2M"))]
    body = []
    for weight, row in zip(weights, rows, strict=True):
        if isinstance(row, Lacking):
            body.append([f"{weight:g}", f"*{row.why}*", *[""] * (len(header) - 2)])
            continue
        cells = [
            " / ".join(_cells(row.evaluations[name][way])) for name in names for way in DIRECTIONS
        ]
        body.append([f"{weight:g}", *cells])
    return "MRR / AR, by how the same towers are evaluated.\n\n" + _table(header, body)


def _within_campaign(rows: Sequence[Line | Lacking]) -> str:
    names: tuple[EvaluationName, ...] = ("correct", WITHIN_CAMPAIGN)
    header = ["system", "all: M2E", "all: E2M", "own campaign: M2E", "own campaign: E2M"]
    body = [
        [
            row.label,
            *(
                " / ".join(_cells(row.evaluations[name].get(way)))
                for name in names
                for way in DIRECTIONS
            ),
        ]
        for row in rows
        if isinstance(row, Line)
    ]
    return "MRR / AR.\n\n" + _table(header, body)


def _cosine_table(corpus: str, rows: Sequence[Line]) -> str:
    header = ["system", "evaluation", "M2E, features", "E2M, curves in [-1, 1]", "in [0, 1]"]
    body = [
        [
            row.label,
            TITLES[name],
            *(_mean_and_deviation(found.get(kind)) for kind in ("m2e", "e2m_signed", "e2m_unit")),
        ]
        for row in rows
        for name, found in row.cosines.items()
    ]
    own = {
        way: f"{mean:.3f} ± {deviation:.3f}" for way, (mean, deviation) in COSINES[corpus].items()
    }
    unit = corpus == "pmemo"
    curves = ["", own["e2m"]] if unit else [own["e2m"], ""]
    body.append(["the paper (its features)", TITLES["as_published_lines"], own["m2e"], *curves])
    return (
        "Means ± standard deviations over all queries of all runs, compared in the query's "
        "modality. Features are standardised by the training part; in [0, 1] every cosine is near "
        "1, whatever is retrieved.\n\n" + _table(header, body)
    )


def _cells(found: Spread | None) -> list[str]:
    if found is None:
        return ["", ""]
    return [
        f"{found['mrr']:.3f} ± {found['mrr_sd']:.3f}",
        f"{found['ar']:.1f} ± {found['ar_sd']:.1f}",
    ]


def _paper(line: Line) -> str:
    if not line.system.startswith(("cmer-cl", "reg-")):
        return ""
    own = line.paper
    if own is None:
        return NOT_AT_HAND
    return " · ".join(
        f"{own[way][0]:.3f} / {own[way][1]:.1f}" if way in own else NOT_AT_HAND
        for way in DIRECTIONS
    )


def _mean_and_deviation(values: Sequence[float] | None) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else ""


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _title(corpus: str) -> str:
    return {"deam": "DEAM", "pmemo": "PMEmo"}[corpus]
