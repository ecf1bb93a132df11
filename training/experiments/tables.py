"""The tables as Markdown, beside the paper's own figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from training.experiments.evaluate import TITLES, EvaluationName
from training.experiments.material import Material
from training.experiments.paper import COSINES, NOT_AT_HAND, REMARKS
from training.experiments.reproduce import Plan
from training.experiments.summary import Lacking, Line, Spread, Summary
from training.experiments.systems import (
    CHOSEN,
    DIRECTIONS,
    TABLES_1_AND_2,
    RecipeSystem,
    RegressionSystem,
    System,
    TowerSystem,
)

_METRICS = "MRR, AR (average rank) and recall@10 are means ± standard deviations over runs."


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
        f"{len(plan.seeds)} runs, seeds {seeds}. Music: {about.features}. {_METRICS}",
        REMARKS[corpus],
    ]
    if about.generated:
        parts.insert(1, "**Generated recordings: nothing here is a result about music.**")
    for material in plan.materials:
        parts += _protocol(plan, summary, material)
    return "\n\n".join(parts) + "\n"


def _protocol(plan: Plan, summary: Summary, material: Material) -> list[str]:
    lines = {x.system: x for x in summary.lines if x.protocol == material.protocol}
    lacking = {x.system: x for x in summary.lacking if x.protocol == material.protocol}
    corpus, label = material.corpus, plan.schedule.title
    weight, margin = CHOSEN[corpus]

    def rows(systems: Iterable[System], extra: Sequence[str] = ()) -> list[Line | Lacking]:
        keys = [system.key for system in systems if system in plan.systems]
        return [lines.get(key) or lacking[key] for key in [*keys, *extra]]

    towers = [system for system in plan.systems if isinstance(system, TowerSystem)]
    plain = [x for x in towers if x.margin_sign == "standard" and x.loss == "paper"]
    compared: list[System] = [
        *(x for x in plain if (x.weight, x.margin) == TABLES_1_AND_2),
        *(x for x in plain if x.margin == margin and x.weight in (0, 1, weight)),
        *(x for x in plan.systems if isinstance(x, RegressionSystem | RecipeSystem)),
    ]
    compared = list(dict.fromkeys(compared))
    parts = [
        f"## {_title(corpus)}, {material.protocol.replace('-', ' ')}",
        f"{len(material.ids):,} pieces: {material.what}.",
        f"### The systems (Tables 1, 2, 5 and 6 of the paper; {label})",
        _compared(rows(compared, ["length-only", "chance"])),
    ]
    for loss, name in (("paper", "the paper's loss"), ("published", "the published code's loss")):
        grid = [
            x
            for x in towers
            if (x.encoder, x.loss, x.margin_sign, x.margin) == ("mlp", loss, "standard", margin)
        ]
        grid.sort(key=lambda x: x.weight)
        if grid:
            parts += [
                f"### Every λ, α = {margin:g}, {name} (Figs. 3 and 4; {label})",
                _evaluated([x.weight for x in grid], rows(grid)),
            ]
    alphas = [x for x in plain if x.encoder == "mlp" and x.weight == weight]
    printed = [x for x in towers if x.margin_sign == "printed"]
    twins = [x for x in plain if x.encoder == "mlp" and x.margin == margin]
    both = [y for x in printed for y in (*[t for t in twins if t.weight == x.weight], x)]
    alphas.sort(key=lambda x: x.margin)
    if len(alphas) > 1:
        parts += [
            f"### Every α, λ = {weight:g} ({label})",
            _compared(rows(alphas)),
        ]
    if both:
        parts += [f"### Both signs of the margin ({label})", _compared(rows(both))]
    parts += [f"### Average cosine similarity of the top 5 % (Fig. 5; {label})"]
    parts += [_cosine_table(corpus, [x for x in rows(compared) if isinstance(x, Line)])]
    return parts


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
