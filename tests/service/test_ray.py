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

import pytest

from cli.main import main
from models.bundle import Bundle
from service import catalogue, repository
from service.database import Database
from service.errors import StartError
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.service.conftest import wait_for, write_tone

FILES = 24
_STORE_BYTES = 80_000_000
_CODE = """
import sys
from cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start a head node with one core; it stands for the machine that writes."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
    from ray.cluster_utils import Cluster

    started = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
        },
    )
    yield started
    started.shutdown()


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(FILES):
        write_tone(folder / f"{number:02}.flac", number, seconds=40)
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


def test_a_node_dies_and_every_track_arrives_once(
    cluster: Any, music: Path, tmp_path: Path, tiny_bundle_folder: Path, bundle: Bundle
) -> None:
    doomed = cluster.add_node(num_cpus=2, object_store_memory=_STORE_BYTES)
    cluster.wait_for_nodes()
    settings = Settings(home=tmp_path / "home")
    catalogue.register_bundle(settings, tiny_bundle_folder)
    command = ["ingest", str(music), "--home", str(settings.home), "--json"]
    command += ["--ray-address", cluster.address]
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, *command],
        cwd=REPOSITORY,
        env={**os.environ, "CIRCUMPLEX_TRACEBACK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: len(stored(settings, bundle.id)) > 0, seconds=60)
        cluster.remove_node(doomed, allow_graceful=False)
        at_death = len(stored(settings, bundle.id))
        said, problems = process.communicate(timeout=90)
    assert process.returncode == 0, problems
    assert at_death < FILES
    report = json.loads(said)
    assert (report["added"], report["skipped"], report["failed"]) == (FILES, 0, [])

    local = Settings(home=tmp_path / "local")
    catalogue.ingest(local, [music], bundle=tiny_bundle_folder)
    assert stored(settings, bundle.id) == stored(local, bundle.id)

    (music / "text.mp3").write_text("no music")
    again = catalogue.ingest(settings, [music], ray_address=cluster.address)
    assert (again.added, again.skipped, again.heard) == (0, FILES, 0)
    assert [path.name for path, _ in again.failed] == ["text.mp3"]
    assert catalogue.verify_index(settings).tracks == FILES
