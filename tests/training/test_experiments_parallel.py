"""Rows side by side in processes, and what is written down of their runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY, is_running
from tests.training.test_experiments import TINY
from training.experiments.parallel import RowError, run_tasks
from training.experiments.records import Records, Row, identity_of
from training.experiments.rows import Found
from training.metrics import retrieval_metrics


def _double(context: int, task: int, report: object) -> int:
    if task == 13:
        raise ValueError("thirteen is not to be done")
    assert callable(report)
    report(1)
    return context * task


def _write_pid_and_wait(folder: str, task: int, report: object) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


class TestParallel:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_does_every_task_once(self, workers: int) -> None:
        told: list[tuple[int, int]] = []
        done = dict(
            run_tasks(
                _double,
                2,
                [5, 7, 9],
                workers=workers,
                on_progress=lambda number, count: told.append((number, count)),
            )
        )
        assert done == {0: 10, 1: 14, 2: 18}
        assert sorted(told) == [(0, 1), (1, 1), (2, 1)]

    def test_a_failure_in_a_process_says_what_it_was(self) -> None:
        with pytest.raises(RowError, match="thirteen"):
            list(run_tasks(_double, 2, [13, 4], workers=2, on_progress=lambda *_: None))

    def test_processes_end_with_the_one_that_asked_however_it_ends(self, tmp_path: Path) -> None:
        code = (
            "from tests.training.test_experiments_parallel import _write_pid_and_wait\n"
            "from training.experiments.parallel import run_tasks\n"
            f"done = run_tasks(_write_pid_and_wait, {str(tmp_path)!r}, [1, 2], workers=2,"
            " on_progress=print)\n"
            "list(done)"
        )
        asking = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
        until = time.monotonic() + 600
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
            assert asking.poll() is None
            time.sleep(0.05)
        workers = [int(path.name) for path in tmp_path.iterdir()]
        assert len(workers) == 2
        asking.kill()
        asking.wait()
        while any(map(is_running, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(is_running, workers))


class TestRecords:
    def test_only_a_record_of_the_same_configuration_counts(self, tmp_path: Path) -> None:
        records = Records(tmp_path)
        row = Row("tiny", "length-blind", "mlp", identity_of(TINY))
        metrics = retrieval_metrics(np.eye(4))
        found: Found = {"retrieved": {"correct": {"m2e": metrics}}, "cosines": {}}
        records.save(row, 3, found)
        assert records.find(row, 3) == found
        assert records.find(row, 4) is None
        other = replace(row, identity=identity_of(replace(TINY, epochs=13)))
        assert records.find(other, 3) is None
        assert not list(tmp_path.rglob("*.partial"))
