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
    LOSSES,
    compared,
    every_margin,
    every_weight,
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
        for name, figure in (
            ("lambda", _weights(plan, material, lines)),
            ("alpha", _margins(plan, material, lines)),
            ("cosines", _cosines(plan, material, lines)),
        ):
            if figure is not None:
                drawn.append(_save(figure, folder, f"{name}-{material.protocol}"))
    return drawn


_Lines = dict[str, Line]
"""The rows of one protocol, by their system's key."""


def _weights(plan: Plan, material: Material, lines: _Lines) -> Figure | None:
    """MRR and AR over λ, correct beside as published, for both losses (Figs. 3 and 4)."""
    grids = {loss: every_weight(plan.systems, material.corpus, loss) for loss in LOSSES}
    drawn = {loss: grid for loss, grid in grids.items() if len(grid) > 1}
    if not drawn:
        return None
    _, margin = CHOSEN[material.corpus]
    figure, axes = _subplots(2, len(drawn), f"{_title(plan, material)}: every λ, α = {margin:g}")
    for column, (loss, grid) in enumerate(drawn.items()):
        rows = [(x.weight, lines[x.key]) for x in grid]
        for row, metric in enumerate(_METRICS):
            _curves(axes[row][column], rows, metric, lines["chance"])
        axes[0][column].set_title(LOSSES[loss])
        axes[1][column].set_xlabel("λ")
    return figure


def _margins(plan: Plan, material: Material, lines: _Lines) -> Figure | None:
    """MRR and AR over α at the corpus' λ."""
    grid = every_margin(plan.systems, material.corpus)
    if len(grid) < 2:
        return None
    weight, _ = CHOSEN[material.corpus]
    rows = [(x.margin, lines[x.key]) for x in grid]
    figure, axes = _subplots(1, 2, f"{_title(plan, material)}: every α, λ = {weight:g}")
    for column, metric in enumerate(_METRICS):
        _curves(axes[0][column], rows, metric, lines["chance"])
        axes[0][column].set_xlabel("α")
    return figure


def _cosines(plan: Plan, material: Material, lines: _Lines) -> Figure | None:
    """Box plots over queries of the top 5 %'s average cosine (Fig. 5)."""
    systems = compared(plan.systems, material.corpus)
    shown = [lines[x.key] for x in systems if x.key in lines]
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
