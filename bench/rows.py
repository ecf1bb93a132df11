"""A training step of ten runs: their towers stacked, against torch's plain towers one by one.

A step is that of a row of the paper's tables: an MLP over song-level features, a BiGRU over curves
of 60 steps, the composite loss of a batch, Adam. On a CPU with one thread, as rows are trained
there, and the default schedule only; on a GPU, where there is one, the published schedule as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from bench.timing import Report, machine, medians_ms, require_close
from models.encoders import Tower
from training.experiments.schedules import DEFAULT, Schedule, published
from training.losses import composite_loss
from training.stacked.towers import StackedTower

RUNS = 10
FEATURES = 167  # DEAM's song-level table
CURVE_STEPS = 60
TRAINING_PIECES = 1_441
WEIGHT, MARGIN = 0.8, 1.0
RELATIVE_DIFFERENCE = 1e-4


def run(*, runs: int = RUNS, schedule: Schedule = DEFAULT, rounds: int = 7) -> Report:
    """Time both, where their losses agree.

    Raises:
        bench.timing.DisagreementError: a run's losses differ by more than 1e-4 of themselves.
    """
    report: Report = {"machine": machine(), "runs": runs}
    with _one_thread():
        report["cpu"] = _compare(schedule, runs, torch.device("cpu"), rounds)
    if torch.cuda.is_available():
        device = torch.device("cuda")
        report["cuda"] = _compare(schedule, runs, device, rounds)
        report["cuda_published"] = _compare(published("deam"), runs, device, rounds)
    return report


def _compare(schedule: Schedule, runs: int, device: torch.device, rounds: int) -> Report:
    undropped = replace(schedule, dropout=0.0)  # or no two would agree
    torch.manual_seed(0)
    plain = [
        (
            Tower(undropped.music_shape("mlp", FEATURES)).to(device),
            Tower(undropped.emotion_shape()).to(device),
        )
        for _ in range(runs)
    ]
    heard, felt = (StackedTower(towers).to(device) for towers in zip(*plain, strict=True))
    features = torch.randn(runs, schedule.batch_size, 1, FEATURES).to(device)
    curves = torch.randn(runs, schedule.batch_size, CURVE_STEPS, 2).to(device)
    one = torch.ones(runs, schedule.batch_size, dtype=torch.int64, device=device)

    def stacked() -> Tensor:
        return composite_loss(
            heard(features, one), felt(curves, CURVE_STEPS * one), weight=WEIGHT, margin=MARGIN
        )

    def alone(run: int) -> Tensor:
        music, emotion = plain[run]
        return composite_loss(
            music(features[run], one[run]),
            emotion(curves[run], CURVE_STEPS * one[run]),
            weight=WEIGHT,
            margin=MARGIN,
        )

    with torch.no_grad():
        together, apart = stacked(), torch.stack([alone(run) for run in range(runs)])
    ratio = (together / apart).cpu()
    difference = require_close("losses", ratio, torch.ones(runs), RELATIVE_DIFFERENCE)

    every = torch.optim.Adam([*heard.parameters(), *felt.parameters()])
    own = [torch.optim.Adam([*m.parameters(), *e.parameters()]) for m, e in plain]

    def step_stacked() -> None:
        _step(every, stacked().sum())
        _finish(device)

    def step_one_by_one() -> None:
        for run, optimiser in enumerate(own):
            _step(optimiser, alone(run))
        _finish(device)

    taken = medians_ms({"stacked": step_stacked, "one_by_one": step_one_by_one}, rounds)
    steps = schedule.epochs * -(-TRAINING_PIECES // schedule.batch_size)
    return {
        "stacked_step_ms": taken["stacked"],
        "one_by_one_step_ms": taken["one_by_one"],
        "one_by_one_over_stacked": taken["one_by_one"] / taken["stacked"],
        "relative_loss_difference": difference,
        "row_of_a_whole_schedule_s": steps * taken["stacked"] / 1e3,
        "single_run_of_a_whole_schedule_s": steps * taken["one_by_one"] / runs / 1e3,
    }


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
