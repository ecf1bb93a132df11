"""The whole reproduction: every system on every protocol, run by run, resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from models.progress import Progress
from training.experiments.clock import Clock, Timed
from training.experiments.material import Material
from training.experiments.ours import run_ours
from training.experiments.parallel import run_tasks
from training.experiments.records import Records, Row, identity_of
from training.experiments.rows import Found, run_row
from training.experiments.schedules import Schedule
from training.experiments.systems import RecipeSystem, RegressionSystem, System
from training.recipes import RECIPES


@dataclass(frozen=True)
class Plan:
    """What is to be reproduced: ``systems`` on every material, a run for each seed."""

    schedule: Schedule
    materials: tuple[Material, ...]
    systems: tuple[System, ...]
    seeds: tuple[int, ...]

    def runnable(self, material: Material) -> list[System]:
        """List what can be trained on a material."""
        return [system for system in self.systems if lack_of(system, material) is None]


@dataclass(frozen=True)
class Task:
    """Runs to be trained together: a whole row, or one run of a recipe."""

    material: int
    system: System
    row: Row
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Site:
    """What every worker needs beside its task."""

    plan: Plan
    out: Path
    device: torch.device


Results = dict[tuple[str, str], list[Found]]
"""What the runs found, in the order of their seeds, by (protocol, system's key)."""


def lack_of(system: System, material: Material) -> str | None:
    """Say why a system cannot be trained on a material, or None where it can."""
    if system.needs_sequences and not material.has_sequences:
        return "needs sequences of features"
    if isinstance(system, RecipeSystem) and material.examples is None:
        return "trains on windows of one length only"
    return None


def reproduce(plan: Plan, out: Path, *, workers: int, device: torch.device) -> Results:
    """Train and evaluate what has no record in ``out`` yet; return all that the plan asks for.

    A run that is finished is written down at once, an unfinished row keeps its state about once a
    minute: interrupted at any moment, a later call with the same arguments goes on from there.

    Raises:
        training.experiments.parallel.RowError: a row could not be trained.
    """
    records, site = Records(out), Site(plan, out, device)
    tasks = _missing_tasks(plan, records)
    with Progress("training rows", sum(_cost(plan, task) for task in tasks), "epochs") as progress:
        clock = Clock([_timed(plan, task) for task in tasks], progress)
        done = run_tasks(_do, site, tasks, workers=workers, on_progress=clock.reach)
        for number, found in done:
            task = tasks[number]
            for seed, run in zip(task.seeds, found, strict=True):
                records.save(task.row, seed, run)
            records.checkpoint(task.row).unlink(missing_ok=True)
            clock.finish(number)
    return _collect(plan, records)


def _do(site: Site, task: Task, on_epoch: Callable[[int], None]) -> list[Found]:
    """Train and evaluate one task; runs in a worker."""
    material = site.plan.materials[task.material]
    if isinstance(task.system, RecipeSystem):
        return [run_ours(task.system, material, seed, device=site.device) for seed in task.seeds]
    return run_row(
        task.system,
        site.plan.schedule,
        material,
        task.seeds,
        parts=[material.parts(seed) for seed in task.seeds],
        device=site.device,
        checkpoint=Records(site.out).checkpoint(task.row),
        identity=f"{task.row.identity} {task.seeds}",
        on_epoch=on_epoch,
    )


def _rows(plan: Plan) -> list[tuple[int, System, Row]]:
    rows = []
    for number, material in enumerate(plan.materials):
        digest = material.digest()
        for system in plan.runnable(material):
            how: object = plan.schedule
            name = plan.schedule.name
            if isinstance(system, RecipeSystem):
                how, name = RECIPES[system.recipe], "recipes"
            row = Row(name, material.protocol, system.key, identity_of(system, how, digest))
            rows.append((number, system, row))
    return rows


def _missing_tasks(plan: Plan, records: Records) -> list[Task]:
    """List what has no record yet, the longest tasks first, so that none is left over alone."""
    tasks = []
    for number, system, row in _rows(plan):
        missing = tuple(seed for seed in plan.seeds if records.find(row, seed) is None)
        if isinstance(system, RecipeSystem):
            tasks += [Task(number, system, row, (seed,)) for seed in missing]
        elif missing:
            tasks.append(Task(number, system, row, missing))
    return sorted(tasks, key=lambda task: -_cost(plan, task))


def _collect(plan: Plan, records: Records) -> Results:
    results: Results = {}
    for _, _, row in _rows(plan):
        runs = [records.find(row, seed) for seed in plan.seeds]
        results[row.protocol, row.system] = [run for run in runs if run is not None]
    return results


def _timed(plan: Plan, task: Task) -> Timed:
    if isinstance(task.system, RecipeSystem):
        epochs = RECIPES[task.system.recipe].epochs
    else:
        epochs = plan.schedule.epochs_of(task.system)
    return Timed(task.system.label, epochs, _cost(plan, task))


def _cost(plan: Plan, task: Task) -> int:
    """Count epochs of single runs; RegMLP's cost next to nothing."""
    if isinstance(task.system, RecipeSystem):
        return RECIPES[task.system.recipe].epochs * len(task.seeds)
    if isinstance(task.system, RegressionSystem) and task.system.network == "mlp":
        return len(task.seeds)
    return plan.schedule.epochs * len(task.seeds)
