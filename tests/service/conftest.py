"""A real home folder, ingested once, and a real server process over it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mutagen
import numpy as np
import pytest
import soundfile

from models.bundle import Bundle, load_bundle
from service import catalogue
from service.database import Database
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.service.postgres import Postgres, program, running_postgres

REAL_RECORDINGS = ("pop-83.mp3", "classical-12.mp3", "rock-23.mp3")
GENERATED = 70  # with the real ones more windows than the engine is first asked for
_START_S = 60.0


def write_tone(path: Path, number: int, seconds: float = 1.2) -> Path:
    """Write a short FLAC of tones and noise, different for each number."""
    rng = np.random.default_rng(number)
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    tones = sum(np.sin(2 * np.pi * rng.uniform(80, 4_000) * time_s) for _ in range(4))
    noise = rng.normal(0, rng.uniform(0.01, 0.5), len(time_s))
    soundfile.write(path, 0.1 * (tones + noise), 16_000)
    return path


def write_catalogue(folder: Path) -> Path:
    """Write the generated tracks, of artists A, B, a (the same as A) and none."""
    folder.mkdir()
    for number in range(GENERATED):
        path = write_tone(folder / f"tone-{number:02}.flac", number)
        artist = (None, "A", "B", "a")[number % 4]
        if artist is not None:
            tags: Any = mutagen.File(path)
            tags["artist"] = artist
            tags["title"] = f"Tone {number}"
            tags.save()
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL; without one a test skips, except where CI promises it."""
    if program("postgres") is None or program("initdb") is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is missing, and CI must have it")
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    with running_postgres() as running:
        yield running


@pytest.fixture(scope="session")
def bundle(tiny_bundle_folder: Path) -> Bundle:
    return load_bundle(tiny_bundle_folder)


@pytest.fixture(scope="session")
def ingested_home(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle_folder: Path, shared_data: Path
) -> Path:
    """A home folder with real and generated recordings; tests that change it copy it first."""
    root = tmp_path_factory.mktemp("ingested")
    settings = Settings(home=root / "home")
    real = [shared_data / "recordings" / name for name in REAL_RECORDINGS]
    report = catalogue.ingest(
        settings, [*real, write_catalogue(root / "tones")], bundle=tiny_bundle_folder
    )
    assert report.added == len(REAL_RECORDINGS) + GENERATED
    assert report.failed == []
    return root / "home"


@pytest.fixture
def home(ingested_home: Path, tmp_path: Path) -> Path:
    """A copy of the home folder for a test to change."""
    return Path(shutil.copytree(ingested_home, tmp_path / "home"))


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = Database(Settings(home=home).database)
    yield opened
    opened.close()


@dataclass
class Server:
    """A running server process and a client that speaks to it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path
    home: Path

    @property
    def port(self) -> int:
        port = self.client.base_url.port
        assert port is not None
        return port

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


def run_python(code: str, home: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a Python process on a home folder, standard error in a file beside it."""
    log = home.parent / f"{home.name}-{time.monotonic_ns()}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env={**os.environ, "CIRCUMPLEX_HOME": str(home), **environment},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    process.log = log  # type: ignore[attr-defined]
    return process


SERVE = "from service.server import serve; from service.settings import Settings; "
SERVE += "serve(Settings(), port=0)"


def start_server(home: Path, **environment: str) -> Server:
    process = run_python(SERVE, home, **environment)
    log: Path = process.log  # type: ignore[attr-defined]
    until_s = time.monotonic() + _START_S
    while "Circumplex serves " not in (text := log.read_text()):
        assert process.poll() is None, text
        assert time.monotonic() < until_s, text
        time.sleep(0.05)
    address = text.split("Circumplex serves ")[1].split()[0]
    server = Server(process, httpx.Client(base_url=address, timeout=30), log, home)
    wait_for(lambda: server.client.get("/livez").status_code == 200)
    return server


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)


@pytest.fixture(scope="session")
def server(ingested_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that leave the catalogue as it is, but for new emotions."""
    home = Path(shutil.copytree(ingested_home, tmp_path_factory.mktemp("served") / "home"))
    running = start_server(home, CIRCUMPLEX_MAX_UPLOAD_BYTES="5000000", CIRCUMPLEX_MAX_AUDIO_S="90")
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def client(server: Server) -> httpx.Client:
    return server.client
