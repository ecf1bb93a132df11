"""Ingest by a real Ray cluster of two nodes on this machine, one of which dies half way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from models.bundle import Bundle
from service import catalogue, repository
from service.database import Database
from service.errors import StartError
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.service.conftest import wait_for, write_tone

FILES = 24
REPEATED = 10
_INGEST = "import sys; from cli.main import main; sys.exit(main(sys.argv[1:]))"
_CLUSTER = """
import sys
from ray.cluster_utils import Cluster

store = {"object_store_memory": 80_000_000}
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **store}
)
doomed = cluster.add_node(num_cpus=1, **store)
cluster.wait_for_nodes()
print("address", cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(doomed, allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


class TwoNodes:
    """A cluster: the head node stays, the other can be killed; each has one core.

    It lives in a process of its own, where Ray's warnings are not ours.
    """

    def __init__(self) -> None:
        environment = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._hear("address")

    def kill_node(self) -> None:
        self._say()
        self._hear("killed")

    def shutdown(self) -> None:
        self._process.communicate("\n\n", timeout=60)

    def _say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def _hear(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError("the cluster's process ended")


@pytest.fixture
def cluster() -> Iterator[TwoNodes]:
    started = TwoNodes()
    yield started
    started.shutdown()


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(FILES):
        path = write_tone(folder / f"{number:02}.flac", number, seconds=40)
        # Again and again: idle cores hear two dozen short files before a node can be killed.
        samples, rate_hz = soundfile.read(path)
        soundfile.write(path, np.tile(samples, REPEATED), rate_hz)
    return folder


def stored(settings: Settings, bundle_id: str) -> dict[str, list[bytes]]:
    """Every window's numbers as bytes, in order, by the title of its track."""
    with closing(Database(settings.database)) as database, database.reading() as session:
        tracks = repository.page_of_tracks(session, None, 500)
        found = {
            track.title: [
                row.embedding.tobytes() + row.mean.tobytes() + row.variance.tobytes()
                for row in repository.windows_of_track(session, track.id, bundle_id)
            ]
            for track in tracks
        }
        assert len(found) == len(tracks)
    return found


def start_ingest(music: Path, home: Path, address: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, as Ray is meant to be driven from."""
    command = ["ingest", str(music), "--home", str(home), "--json", "--ray-address", address]
    return subprocess.Popen(
        [sys.executable, "-c", _INGEST, *command],
        cwd=REPOSITORY,
        env={**os.environ, "CIRCUMPLEX_TRACEBACK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, problems = process.communicate(timeout=240)
    assert process.returncode == 0, problems
    report: dict[str, Any] = json.loads(said)
    return report


def test_a_node_dies_and_every_track_arrives_once(
    cluster: TwoNodes, music: Path, tmp_path: Path, tiny_bundle_folder: Path, bundle: Bundle
) -> None:
    settings = Settings(home=tmp_path / "home")
    catalogue.register_bundle(settings, tiny_bundle_folder)
    ingest = start_ingest(music, settings.home, cluster.address)
    wait_for(lambda: len(stored(settings, bundle.id)) > 0, seconds=240)
    cluster.kill_node()
    assert len(stored(settings, bundle.id)) < FILES
    report = report_of(ingest)
    assert (report["added"], report["skipped"], report["failed"]) == (FILES, 0, [])
    assert 0 < report["cores_busy"] < 1

    local = Settings(home=tmp_path / "local")
    catalogue.ingest(local, [music], bundle=tiny_bundle_folder)
    assert stored(settings, bundle.id) == stored(local, bundle.id)

    (music / "text.mp3").write_text("no music")
    again = report_of(start_ingest(music, settings.home, cluster.address))
    assert (again["added"], again["skipped"], again["heard"]) == (0, FILES, 0)
    assert [Path(failed["path"]).name for failed in again["failed"]] == ["text.mp3"]
    assert catalogue.verify_index(settings).tracks == FILES


def test_no_cluster_is_said_in_one_line(
    tmp_path: Path, tiny_bundle_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(home=tmp_path / "home")
    catalogue.register_bundle(settings, tiny_bundle_folder)
    nowhere = start_ingest(tmp_path, settings.home, "127.0.0.1:1")
    _, problems = nowhere.communicate(timeout=240)
    assert nowhere.returncode == 1
    (line,) = [line for line in problems.splitlines() if line.startswith("circumplex: ")]
    assert "no Ray cluster can be used at '127.0.0.1:1'" in line
    assert "Traceback" not in problems


def test_without_ray_it_says_what_to_install(
    tmp_path: Path,
    tiny_bundle_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StartError, match=r"pip install 'circumplex\[ray\]'"):
        catalogue.ingest(
            Settings(home=tmp_path / "home"),
            [tmp_path],
            bundle=tiny_bundle_folder,
            ray_address="local",
        )
