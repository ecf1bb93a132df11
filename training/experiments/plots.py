"""The paper's figures as PNG and SVG: λ curves, α curve, box plots of cosines."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from training.experiments.evaluate import TITLES, EvaluationName
from training.experiments.material import Material
from training.experiments.reproduce import Plan
from training.experiments.summary import Line, Summary
from training.experiments.systems import (
    CHOSEN,
    DIRECTIONS,
    TABLES_1_AND_2,
    Loss,
    TowerSystem,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN: tuple[EvaluationName, ...] = ("correct", "as_published", "as_published_lines")
_COLOURS: dict[EvaluationName, str] = {
    "correct": "#0072b2",
    "as_published": "#d55e00",
    "as_published_lines": "#cc79a7",
}
_METRICS: tuple[Literal["mrr", "ar"], ...] = ("mrr", "ar")
_MARKS = {"m2e": "o-", "e2m": "s--"}
_LOSSES: dict[Loss, str] = {"paper": "the paper's loss", "published": "the published code's loss"}


class PlotError(RuntimeError):
    """Figures cannot be drawn; the text says what to install."""


def draw(plan: Plan, summary: Summary, folder: Path) -> list[Path]:
    """Draw every figure that the summary has lines for; returns the PNG files.

    Raises:
        PlotError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotError(
            "the figures were not drawn, they need matplotlib: pip install 'circumplex[research]' "
            "and run again, what was trained is kept"
        )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for material in plan.materials:
        lines = {x.system: x for x in summary.lines if x.protocol == material.protocol}
        towers = [
            (system, lines[system.key])
            for system in plan.systems
            if isinstance(system, TowerSystem) and system.key in lines
        ]
        for name, figure in (
            ("lambda", _weights(plan, material, towers, lines["chance"])),
            ("alpha", _margins(plan, material, towers, lines["chance"])),
            (
                "cosines",
                _cosines(plan, material, [line for line in lines.values() if line.cosines]),
            ),
        ):
            if figure is not None:
                drawn.append(_save(figure, folder, f"{name}-{material.protocol}"))
    return drawn


_Towers = Sequence[tuple[TowerSystem, Line]]


def _weights(plan: Plan, material: Material, towers: _Towers, chance: Line) -> Figure | None:
    """MRR and AR over λ, correct beside as published, for both losses (Figs. 3 and 4)."""
    _, margin = CHOSEN[material.corpus]
    chosen = [
        pair
        for pair in towers
        if (pair[0].encoder, pair[0].margin_sign, pair[0].margin) == ("mlp", "standard", margin)
    ]
    losses = [loss for loss in _LOSSES if sum(x.loss == loss for x, _ in chosen) > 1]
    if not losses:
        return None
    figure, axes = _subplots(2, len(losses), f"{_title(plan, material)}: every λ, α = {margin:g}")
    for column, loss in enumerate(losses):
        rows = sorted((x.weight, line) for x, line in chosen if x.loss == loss)
        for row, metric in enumerate(_METRICS):
            panel = axes[row][column]
            _curves(panel, rows, metric, chance)
            panel.set_title(_LOSSES[loss] if row == 0 else "")
            panel.set_xlabel("λ" if row else "")
    return figure


def _margins(plan: Plan, material: Material, towers: _Towers, chance: Line) -> Figure | None:
    """MRR and AR over α at the corpus' λ."""
    weight, _ = CHOSEN[material.corpus]
    rows = sorted(
        (x.margin, line)
        for x, line in towers
        if (x.encoder, x.margin_sign, x.loss, x.weight) == ("mlp", "standard", "paper", weight)
    )
    if len(rows) < 2:
        return None
    figure, axes = _subplots(1, 2, f"{_title(plan, material)}: every α, λ = {weight:g}")
    for column, metric in enumerate(_METRICS):
        _curves(axes[0][column], rows, metric, chance)
        axes[0][column].set_xlabel("α")
    return figure


def _cosines(plan: Plan, material: Material, lines: Sequence[Line]) -> Figure | None:
    """Box plots over queries of the top 5 %'s average cosine (Fig. 5)."""
    weight, margin = CHOSEN[material.corpus]
    wanted = {TowerSystem("mlp", share, margin).key for share in (0.0, weight, 1.0)}
    wanted.add(TowerSystem("mlp", *TABLES_1_AND_2).key)
    shown = [x for x in lines if x.system in wanted or not x.system.startswith("cmer-cl")]
    if not shown:
        return None
    kinds = {
        "m2e": "M2E: features",
        "e2m_signed": "E2M: curves in [-1, 1]",
        "e2m_unit": "E2M: curves in [0, 1]",
    }
    figure, axes = _subplots(1, 3, f"{_title(plan, material)}: average cosine of the top 5 %")
    for panel, (kind, title) in zip(axes[0], kinds.items(), strict=True):
        found = [
            (x.label, x.cosines["correct"][kind]) for x in shown if kind in x.cosines["correct"]
        ]
        panel.boxplot(
            [values for _, values in found],
            tick_labels=[label for label, _ in found],
            orientation="horizontal",
            flierprops={"markersize": 2},
        )
        panel.set_title(title)
    return figure


def _curves(
    panel: Axes, rows: Sequence[tuple[float, Line]], metric: Literal["mrr", "ar"], chance: Line
) -> None:
    at = [place for place, _ in rows]
    for name in _SHOWN:
        for way in DIRECTIONS:
            found = [line.evaluations[name][way] for _, line in rows]
            panel.errorbar(
                at,
                [x[metric] for x in found],
                yerr=[x["mrr_sd" if metric == "mrr" else "ar_sd"] for x in found],
                fmt=_MARKS[way],
                color=_COLOURS[name],
                markersize=4,
                linewidth=1,
                capsize=2,
                label=f"{way.upper()}, {TITLES[name]}",
            )
    by_chance = chance.evaluations["correct"]["m2e"][metric]
    panel.axhline(by_chance, color="grey", linewidth=1, linestyle=":", label="chance")
    panel.set_ylabel({"mrr": "MRR", "ar": "average rank"}[metric])
    panel.grid(alpha=0.3)


def _subplots(rows: int, columns: int, title: str) -> tuple[Figure, list[list[Axes]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * columns, 3.4 * rows + 1), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in panels]


def _save(figure: Figure, folder: Path, name: str) -> Path:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    for suffix in ("svg", "png"):
        figure.savefig(folder / f"{name}.{suffix}", dpi=130)
    return folder / f"{name}.png"


def _title(plan: Plan, material: Material) -> str:
    protocol = material.protocol.replace("-", " ")
    return f"{material.corpus.upper()}, {protocol} ({plan.schedule.name} schedule)"
