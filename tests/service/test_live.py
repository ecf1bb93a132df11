"""What the service refuses to start on, and how it keeps up with a changing home folder."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from models.bundle import Bundle, save_bundle
from models.curve import Curve
from models.moods import mood_curves
from service import catalogue, repository
from service.database import Database
from service.errors import StartError
from service.index.snapshot import current_id, load_snapshot
from service.live import LiveService
from service.retrieval import Limits
from service.server import serve
from service.settings import Settings
from tests.conftest import tiny_bundle
from tests.service.conftest import run_python, start_server, wait_for, write_tone

ADVICE = "circumplex index build"


def snapshot_folder(home: Path) -> Path:
    snapshot_id = current_id(home / "snapshots")
    assert snapshot_id is not None
    return home / "snapshots" / snapshot_id


def test_it_does_not_start_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="circumplex train"):
        LiveService(Settings(home=tmp_path / "empty"))


def test_it_does_not_start_without_an_index(home: Path) -> None:
    shutil.rmtree(home / "snapshots")
    with pytest.raises(StartError, match=ADVICE):
        LiveService(Settings(home=home))
    catalogue.build_index(Settings(home=home))
    LiveService(Settings(home=home)).close()


@pytest.mark.parametrize(
    "name",
    [
        "encodings.npy",
        "vectors.npy",
        "constants.npy",
        "frame.npz",
        "windows.npy",
        "tracks.npy",
        "traits.npz",
        "names.json",
        "manifest.json",
    ],
)
def test_a_flipped_byte_is_refused(home: Path, name: str) -> None:
    path = snapshot_folder(home) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StartError, match=ADVICE):
        LiveService(Settings(home=home))
    with pytest.raises(StartError, match=ADVICE):
        catalogue.verify_index(Settings(home=home))


@pytest.mark.parametrize("pointer", ["", "nothing", "../../bundles", "20260101T000000000000-0"])
def test_a_pointer_to_nowhere_is_refused(home: Path, pointer: str) -> None:
    (home / "snapshots" / "current").write_text(pointer)
    with pytest.raises(StartError, match=ADVICE):
        LiveService(Settings(home=home))


def test_another_bundle_s_index_is_refused(home: Path, tmp_path: Path) -> None:
    save_bundle(tiny_bundle(1), tmp_path / "other")
    catalogue.register_bundle(Settings(home=home), tmp_path / "other")
    with pytest.raises(StartError, match=ADVICE):
        LiveService(Settings(home=home))


def test_an_altered_bundle_id_is_refused(home: Path) -> None:
    path = snapshot_folder(home) / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "bundle_id": "0" * 64}))
    with pytest.raises(StartError, match=ADVICE):
        LiveService(Settings(home=home))


def test_a_damaged_bundle_is_refused(home: Path) -> None:
    path = home / "bundles" / "tiny" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StartError, match="checksum"):
        LiveService(Settings(home=home))


def test_what_was_deleted_while_no_server_ran_is_not_found(home: Path, database: Database) -> None:
    with database.writing() as session:
        gone = repository.page_of_tracks(session, None, 1)[0]
        session.delete(gone)
    live = LiveService(Settings(home=home))
    found = live.search_tracks(mood_curves("calm")["constant"], Limits(100)).answer.matches
    assert len(found) == 72
    assert gone.id not in {match.id for match in found}
    live.close()
    assert catalogue.verify_index(Settings(home=home)).tracks == 72


def test_an_index_of_another_database_is_refused(home: Path, database: Database) -> None:
    with database.writing() as session:
        session.execute(text("DELETE FROM changes"))
        session.execute(text("UPDATE windows SET position = position"))
    for start in (LiveService, catalogue.verify_index):
        with pytest.raises(StartError, match=ADVICE):
            start(Settings(home=home))
    catalogue.build_index(Settings(home=home))
    assert catalogue.verify_index(Settings(home=home)).tracks == 73


def change_an_encoding(database: Database, bundle: Bundle) -> str:
    with database.writing() as session:
        track = repository.page_of_tracks(session, None, 1)[0]
        window = repository.windows_of_track(session, track.id, bundle.id)[0]
        window.mean = window.mean + np.float32(1)
    return track.id


def test_a_changed_encoding_is_searched_as_it_is_now(
    home: Path, database: Database, bundle: Bundle
) -> None:
    live = LiveService(Settings(home=home))
    track_id = change_an_encoding(database, bundle)
    before = live.searcher.tracks
    assert live.refresh()
    after = live.searcher.tracks
    taken = [shelf.take(shelf.rows_of(track_id)).mean[0] for shelf in (before, after)]
    np.testing.assert_allclose(taken[1], taken[0] + 1, rtol=1e-6)
    live.close()
    assert catalogue.verify_index(Settings(home=home)).recall == 1.0


def test_a_changed_encoding_that_no_journal_tells_of_is_found_by_verify(
    home: Path, database: Database, bundle: Bundle
) -> None:
    with database.reading() as session:
        last = repository.last_change(session)
    change_an_encoding(database, bundle)
    with database.writing() as session:
        session.execute(text("DELETE FROM changes WHERE number > :last"), {"last": last})
    with pytest.raises(StartError, match=ADVICE):
        catalogue.verify_index(Settings(home=home))


def test_the_server_says_in_one_line_why_it_does_not_start(home: Path) -> None:
    (home / "snapshots" / "current").unlink()
    code = """
import sys
from service.errors import StartError
from service.server import serve
from service.settings import Settings
try:
    serve(Settings(), port=0)
except StartError as error:
    sys.stderr.write(f"{error}\\n")
    sys.exit(1)
"""
    process = run_python(code, home)
    assert process.wait(timeout=60) == 1
    lines = process.log.read_text().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1
    assert ADVICE in lines[0]


def test_a_taken_port_is_said(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartError, match="--port"):
            serve(Settings(home=home), port=taken.getsockname()[1])


def test_old_snapshots_are_dropped(home: Path) -> None:
    settings = Settings(home=home)
    (home / "snapshots" / "partial-left-by-a-killed-one").mkdir()
    ids = [catalogue.build_index(settings).id for _ in range(3)]
    kept = {path.name for path in settings.snapshots_folder.iterdir() if path.is_dir()}
    assert kept == set(ids[1:])
    assert current_id(settings.snapshots_folder) == ids[-1]


def test_an_unchanged_catalogue_gives_the_same_index(home: Path, bundle: Bundle) -> None:
    settings = Settings(home=home)
    first, second = (catalogue.build_index(settings).id.split("-")[1] for _ in range(2))
    assert first == second
    assert load_snapshot(settings.snapshots_folder, bundle.id).bundle_id == bundle.id


def test_a_state_is_replaced_whole(home: Path, tmp_path: Path) -> None:
    live = LiveService(Settings(home=home))
    before = live.searcher
    curve = mood_curves("calm")["constant"]
    assert not live.refresh()
    catalogue.ingest(Settings(home=home), [write_tone(tmp_path / "new.flac", 1_000)])
    assert live.refresh()
    assert live.searcher is not before
    assert live.searcher.bundle is before.bundle
    assert len(before.search_tracks(curve, Limits(100)).matches) == 73
    assert len(live.search_tracks(curve, Limits(100)).answer.matches) == 74
    live.close()


def test_a_broken_new_index_is_not_taken(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveService(Settings(home=home))
    before = live.searcher
    catalogue.build_index(Settings(home=home))
    path = snapshot_folder(home) / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(3):
        assert not live.refresh()
    assert live.searcher is before
    refusals = [record for record in caplog.records if "not used" in record.message]
    assert len(refusals) == 1
    live.add_emotion("still works", Curve.constant(arousal=0.1, valence=0.2))
    catalogue.build_index(Settings(home=home))
    assert live.refresh()
    assert "still works" in {e.label for e in live.searcher.emotions.emotions.values()}
    live.close()


def test_a_running_server_takes_a_new_bundle_and_index(home: Path, tmp_path: Path) -> None:
    server = start_server(home)
    before = server.client.get("/readyz").json()
    other_id = save_bundle(tiny_bundle(1), tmp_path / "other")
    folder = tmp_path / "more"
    folder.mkdir()
    for number in range(3):
        write_tone(folder / f"{number}.flac", 2_000 + number)
    catalogue.ingest(Settings(home=home), [folder], bundle=tmp_path / "other")
    wait_for(lambda: server.client.get("/readyz").json()["index"] != before["index"])
    answer = server.client.post("/v1/search/tracks", json={"mood": "calm"}).json()
    assert answer["model"] == other_id
    assert len(answer["results"]) == 3
    old = server.client.get("/v1/tracks", params={"limit": 1}).json()["items"][0]
    similar = server.client.post("/v1/search/similar", json={"track_id": old["id"]})
    assert similar.json()["code"] == "track_not_indexed"
    models = server.client.get("/v1/models").json()["items"]
    assert [(model["id"], model["active"]) for model in models] == [
        (other_id, True),
        (before["model"], False),
    ]
    assert server.stop() == 0
