"""The folder that a reproduction leaves: tables, figures, configuration and environment."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

from training.experiments.plots import draw
from training.experiments.reproduce import Plan
from training.experiments.summary import Line, Summary
from training.experiments.tables import About, markdown
from training.recipes import RECIPES

_VERSIONS = ("circumplex", "numpy", "scipy", "torch")


def write_configuration(plan: Plan, about: About, out: Path, device: torch.device) -> None:
    """Write config.json: everything that the figures depend on, and where they come about."""
    configuration = {
        "schedule": asdict(plan.schedule),
        "seeds": list(plan.seeds),
        "systems": [{"key": system.key, **asdict(system)} for system in plan.systems],
        "recipes": {name: asdict(recipe) for name, recipe in RECIPES.items()},
        "protocols": [
            {
                "name": material.protocol,
                "what": material.what,
                "corpus": material.corpus,
                "pieces": len(material.ids),
                "train_share": material.train_share,
                "sha256": material.digest(),
            }
            for material in plan.materials
        ],
        "features": asdict(about),
        "environment": {
            "versions": {name: version(name) for name in _VERSIONS},
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "device": str(device),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
    }
    _write(out / "config.json", configuration)


def write_tables(plan: Plan, summary: Summary, about: About, out: Path) -> None:
    """Write tables.md and tables.json."""
    (out / "tables.md").write_text(markdown(plan, summary, about), encoding="utf-8")
    lines = [{k: v for k, v in asdict(line).items() if k != "cosines"} for line in summary.lines]
    lacking = [asdict(row) for row in summary.lacking]
    about_all = {**asdict(about), "schedule": plan.schedule.title, "seeds": list(plan.seeds)}
    _write(out / "tables.json", {"about": about_all, "lines": lines, "lacking": lacking})


def draw_figures(plan: Plan, summary: Summary, out: Path) -> None:
    """Draw the figures as PNG and SVG into figures/.

    Raises:
        training.experiments.plots.PlotError: matplotlib is not installed.
    """
    draw(plan, summary, out / "figures")


def by_system(summary: Summary) -> dict[str, object]:
    """Return {system: {"m2e": {"mrr", "ar", ..}, "e2m": {..}}} for programs.

    The figures are those of the correct evaluation on clips of one length; the other evaluations
    stand beside them under ``evaluations``, whole clips under ``true_lengths``.
    """
    found: dict[str, dict[str, object]] = {}
    for line in summary.lines:
        entry = found.setdefault(line.system, {"label": line.label})
        if line.protocol == "length-blind":
            entry.update(_entry(line))
        else:
            entry["true_lengths"] = _entry(line)
    return dict(found)


def _entry(line: Line) -> dict[str, object]:
    others = {name: both for name, both in line.evaluations.items() if name != "correct"}
    entry: dict[str, object] = {"runs": line.runs}
    entry |= {str(way): found for way, found in line.evaluations["correct"].items()}
    return entry | ({"evaluations": others} if others else {})


def _processor() -> str:
    """Name the processor: Linux tells it in a file, others through the platform."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
