"""``circumplex reproduce``: the paper's tables and figures, and our recipe beside them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cli.failure import InputError
from cli.output import print_json, print_table
from models.cache import cache_folder
from models.frontends import build_frontend
from training.corpora.corpus import Corpus
from training.corpora.loading import load_corpus
from training.experiments.folder import (
    by_system,
    draw_figures,
    write_configuration,
    write_tables,
)
from training.experiments.material import Material, one_length, whole_clips
from training.experiments.plots import PlotError
from training.experiments.reproduce import Plan
from training.experiments.reproduce import reproduce as run_plan
from training.experiments.schedules import DEFAULT, QUICK, Schedule, published
from training.experiments.summary import Summary, summarise
from training.experiments.systems import DIRECTIONS, RecipeSystem, System, TowerSystem, systems_of
from training.experiments.tables import About
from training.features import Features, extract_features, load_features
from training.recipes import CIRCUMPLEX, CMER_CL
from training.trainer import training_device

_RUNS, _QUICK_RUNS = 10, 2
_OURS = (
    RecipeSystem(CIRCUMPLEX.name, textured=True),
    RecipeSystem(CIRCUMPLEX.name, textured=False),
)


def reproduce(options: argparse.Namespace) -> None:
    """Train what is missing, write the folder, print the figures."""
    if options.quick and options.schedule == "published":
        raise InputError("--quick has a schedule of its own: leave out --schedule published")
    corpus = load_corpus(options.corpus, options.root)
    features, named = _features(options, corpus)
    plan = _plan(options, _materials(options, corpus, features))
    about = About(named, options.generated)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    device = training_device()
    workers = options.workers or (1 if device.type == "cuda" else os.cpu_count() or 1)
    write_configuration(plan, about, out, device)
    summary = summarise(plan, run_plan(plan, out, workers=workers, device=device))
    write_tables(plan, summary, about, out)
    _print(options, plan, summary)
    try:
        draw_figures(plan, summary, out)
    except PlotError as error:
        sys.stderr.write(f"circumplex: {error}\n")


def _features(options: argparse.Namespace, corpus: Corpus) -> tuple[Features, str]:
    """Return the music's features, and what they are for the reader of a table."""
    if options.features is not None:
        return load_features(options.features), f"features from {options.features.name}"
    frontend = build_frontend(options.frontend, options.weights)
    features = extract_features(corpus, frontend, cache_folder() / "features")
    return features, f"{options.frontend} features of the recordings"


def _materials(
    options: argparse.Namespace, corpus: Corpus, features: Features
) -> tuple[Material, ...]:
    """Cut DEAM to its 30 s; show PMEmo both as published and where no length can tell a clip."""
    if options.corpus == "deam" or options.recipe == CIRCUMPLEX.name:
        return (one_length(corpus, features),)
    return whole_clips(corpus, features), one_length(corpus, features)


def _plan(options: argparse.Namespace, materials: tuple[Material, ...]) -> Plan:
    runs = options.runs or (_QUICK_RUNS if options.quick else _RUNS)
    seeds = tuple(range(options.seed, options.seed + runs))
    return Plan(_schedule(options), materials, _systems(options), seeds)


def _schedule(options: argparse.Namespace) -> Schedule:
    if options.quick:
        return QUICK
    return published(options.corpus) if options.schedule == "published" else DEFAULT


def _systems(options: argparse.Namespace) -> tuple[System, ...]:
    if options.recipe == CIRCUMPLEX.name:
        return _OURS
    if options.recipe == CMER_CL.name:
        return (TowerSystem("mlp", CMER_CL.weight, CMER_CL.margin),)
    return *systems_of(options.corpus, quick=options.quick), *_OURS


def _print(options: argparse.Namespace, plan: Plan, summary: Summary) -> None:
    found = by_system(summary)
    if options.recipe is not None:
        found = {options.recipe: found[plan.systems[0].key]} | {
            system.key: found[system.key] for system in plan.systems[1:]
        }
    if options.json:
        print_json(found)
        return
    names = {system.key for system in plan.systems} | {"length-only", "campaign-only", "chance"}
    rows = []
    for line in summary.lines:
        correct = line.evaluations["correct"]
        if line.system in names:
            cells = []
            for way in DIRECTIONS:
                found_way = correct.get(way)
                cells += (
                    [f"{found_way['mrr']:.3f}", f"{found_way['ar']:.1f}"] if found_way else ["", ""]
                )
            rows.append([f"{line.label} ({line.protocol})", *cells])
    sys.stdout.write(f"{plan.schedule.title}, {len(plan.seeds)} runs:\n")
    print_table(["", "M2E MRR", "AR", "E2M MRR", "AR"], rows)
    sys.stdout.write(f"Tables, figures and records are in {options.out}\n")
