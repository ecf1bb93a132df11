"""The service as a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from service.settings import Settings

_START_S = 180.0  # the first start on a machine compiles
_REPOSITORY = Path(__file__).resolve().parent.parent


class Server(NamedTuple):
    """Where a server answers, and the process that it is."""

    address: str
    process_id: int

    def processor_s(self) -> float:
        """Return the processor time that it and its processes have taken so far (Linux)."""
        return sum(map(processor_s, [self.process_id, *children_of(self.process_id)]))


def children_of(process_id: int) -> list[int]:
    """Return the processes that one has started and that are still there (Linux)."""
    tasks = Path(f"/proc/{process_id}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def processor_s(process_id: int) -> float:
    """Return the processor time that one process has taken so far (Linux)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_server(settings: Settings) -> Iterator[Server]:
    """Run ``circumplex serve`` on a home folder for as long."""
    command = [sys.executable, "-m", "cli.main", "serve"]
    command += ["--home", str(settings.home), "--port", "0"]
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stderr:
            environment = {
                **os.environ,
                "CIRCUMPLEX_DATABASE_URL": settings.database_url,
                "CIRCUMPLEX_COMPACT_AFTER": str(settings.compact_after),
            }
            process = subprocess.Popen(command, cwd=_REPOSITORY, env=environment, stderr=stderr)
        try:
            yield Server(_address(process, log), process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until_s = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until_s:
        found = re.search(r"Circumplex serves (http://\S+)\n", log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text().strip()}")
