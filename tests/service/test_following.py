"""What changes in the database is searched at once as it is now, and compacted on the side."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from sqlalchemy import text

from models.bundle import Bundle
from models.moods import mood_curves
from service import catalogue, repository
from service.database import Database
from service.index.snapshot import current_id
from service.index.traits import TrackFilter
from service.live import LiveService
from service.retrieval import Limits
from service.settings import Settings
from service.tables import BundleRow, TrackRow, TrackTagRow, WindowRow
from service.upkeep import Upkeep
from tests.service.conftest import start_server, wait_for, write_tone

CALM = mood_curves("calm")["constant"]


def found(live: LiveService, limits: Limits | None = None) -> list[str]:
    answer = live.search_tracks(CALM, limits or Limits(100)).answer
    return [match.id for match in answer.matches]


def test_an_ingest_is_found_without_a_new_index(home: Path, tmp_path: Path) -> None:
    settings = Settings(home=home)
    with closing(LiveService(settings)) as live:
        before = current_id(settings.snapshots_folder)
        known = set(found(live))
        catalogue.ingest(settings, [write_tone(tmp_path / "new.flac", 500)])
        assert current_id(settings.snapshots_folder) == before
        assert live.refresh()
        (new,) = set(found(live)) - known
        scores = {
            hit.id: hit.score for hit in live.searcher.search_tracks(CALM, Limits(100)).matches
        }
        assert live.similar_tracks(new, Limits(5)).answer.matches
        catalogue.build_index(settings)
        assert live.refresh()
        assert live.searcher.followed.tail == 0
        again = live.searcher.search_tracks(CALM, Limits(100)).matches
        assert {hit.id: hit.score for hit in again} == scores
        assert catalogue.verify_index(settings).recall == 1.0


def test_a_deleted_track_is_gone_at_once_and_for_good(home: Path) -> None:
    settings = Settings(home=home)
    with closing(LiveService(settings)) as live:
        first = found(live)[0]
        live.delete_track(first)
        assert first not in found(live)
        assert first not in found(live, Limits(100, exact=True))
    with closing(LiveService(settings)) as live:
        assert first not in found(live)
    catalogue.build_index(settings)
    with closing(LiveService(settings)) as live:
        assert first not in found(live)


def test_another_model_s_windows_move_nothing(home: Path, database: Database) -> None:
    with closing(LiveService(Settings(home=home))) as live, database.writing() as session:
        before = live.searcher
        other = "0" * 64
        session.add(
            BundleRow(id=other, name="o", path="o", active=False, added_at=repository.now())
        )
        session.flush()
        row = repository.page_of_tracks(session, None, 1)[0]
        known = repository.windows_of_track(session, row.id, before.bundle.id)[0]
        values = {name: getattr(known, name) for name in ("embedding", "mean", "variance")}
        session.add(
            WindowRow(
                track_id=row.id, bundle_id=other, position=0, start_s=0.0, end_s=30.0, **values
            )
        )
        session.commit()
        assert live.refresh()
        assert live.searcher.followed.change > before.followed.change
        assert live.searcher.tracks is before.tracks


def test_filters_hold_in_the_index_and_beside_it(home: Path, database: Database) -> None:
    settings = Settings(home=home)
    with database.writing() as session:
        for place, row in enumerate(repository.page_of_tracks(session, None, 6)):
            row.bpm = 80.0 + 10 * place
            session.add(TrackTagRow(track_id=row.id, tag="calm"))
            if place % 2:
                session.add(TrackTagRow(track_id=row.id, tag="long"))
    wanted = TrackFilter(tags=("Calm",), bpm_low=90, bpm_high=120)
    with database.reading() as session:
        expected = {
            row.id
            for row in session.query(TrackRow).all()
            if row.bpm is not None and 90 <= row.bpm <= 120
        }
    assert len(expected) == 4
    for rebuilt in (False, True):
        if rebuilt:
            catalogue.build_index(settings)
        with closing(LiveService(settings)) as live:
            assert live.searcher.followed.tail == (0 if rebuilt else live.searcher.followed.dead)
            assert set(found(live, Limits(100, filter=wanted))) == expected
            both = TrackFilter(tags=("calm", "long"))
            assert len(found(live, Limits(100, filter=both))) == 3
            assert found(live, Limits(100, filter=TrackFilter(tags=("nobody's",)))) == []
            artist = TrackFilter(artists=(" a ",))
            assert len(found(live, Limits(100, filter=artist))) == 35
            kept = found(live, Limits(100, filter=artist))[1:]
            excluded = Limits(
                100, filter=artist, exclude=found(live, Limits(100, filter=artist))[:1]
            )
            assert found(live, excluded) == kept


def test_the_journal_is_cut_where_no_index_needs_it(home: Path, database: Database) -> None:
    settings = Settings(home=home)
    for _ in range(3):
        with database.writing() as session:
            session.execute(text("UPDATE windows SET position = position"))
        catalogue.build_index(settings)
    with database.reading() as session:
        numbers = list(session.scalars(text("SELECT number FROM changes ORDER BY number")))
        windows = repository.count_windows(
            session, session.scalars(text("SELECT id FROM bundles")).one()
        )
    assert len(numbers) == windows + 1  # back to the last change of the index before this one


def test_much_change_is_compacted_while_searches_go_on(home: Path, tmp_path: Path) -> None:
    settings = Settings(home=home, compact_after=3)
    with closing(LiveService(settings)) as live:
        upkeep = Upkeep(live)
        before = live.searcher.snapshot.id
        for track_id in found(live)[:5]:
            live.delete_track(track_id)
        expected = found(live)
        waits_s: list[float] = []
        stop = Event()

        def take_searchers() -> None:
            """Whoever asks for the state of the moment gets it: nothing is locked meanwhile."""
            while not stop.is_set():
                asked_s = time.perf_counter()
                searcher = live.searcher
                waits_s.append(time.perf_counter() - asked_s)
                assert len(searcher.search_tracks(CALM, Limits(5)).matches) == 5

        client = Thread(target=take_searchers)
        client.start()
        try:
            upkeep.follow()

            def compacted() -> bool:
                upkeep.follow()
                return live.searcher.snapshot.id != before

            wait_for(compacted, 60)
        finally:
            stop.set()
            client.join()
        assert live.searcher.followed.dead == 0
        assert found(live) == expected
        assert len(waits_s) > 50
        # Threads may be switched between two looks at the clock; a lock would take longer.
        assert sorted(waits_s)[int(0.99 * len(waits_s))] < 0.05
        upkeep.close()


def test_over_http(home: Path, bundle: Bundle) -> None:
    server = start_server(home, CIRCUMPLEX_RECALL_EVERY_S="1")
    client: httpx.Client = server.client
    body = {"mood": "calm", "k": 100, "filter": {"artists": ["B"]}}
    hits = client.post("/v1/search/tracks", json=body).json()["results"]
    assert {hit["track"]["artist"] for hit in hits} == {"B"}
    gone = hits[0]["track"]["id"]
    assert client.delete(f"/v1/tracks/{gone}").status_code == 204
    assert client.delete(f"/v1/tracks/{gone}").json()["code"] == "track_not_found"
    again = client.post("/v1/search/tracks", json=body).json()["results"]
    assert [hit["track"]["id"] for hit in again] == [hit["track"]["id"] for hit in hits[1:]]
    wait_for(lambda: 'recall_at_10{measured="live"} 1.0' in client.get("/metrics").text, 30)
    text_ = client.get("/metrics").text
    assert "circumplex_gone_windows 1.0" in text_
    assert 'circumplex_request_seconds_count{method="DELETE",path="/v1/tracks/{track_id}"' in text_
    assert bundle.id in text_
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ({"bpm_min": 120, "bpm_max": 60}, "filter"),
        ({"bpm_min": -1}, "filter.bpm_min"),
        ({"tags": "calm"}, "filter.tags"),
        ({"year": 1999}, "filter.year"),
        ({"artists": ["a"] * 1_001}, "filter.artists"),
    ],
)
def test_a_bad_filter_is_named(client: httpx.Client, wanted: object, where: str) -> None:
    reply = client.post("/v1/search/tracks", json={"mood": "calm", "filter": wanted})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"].startswith(where)


def test_a_file_that_is_damaged_while_it_is_served_is_found(home: Path) -> None:
    with closing(LiveService(Settings(home=home))) as live:
        upkeep = Upkeep(live)
        upkeep.inspect()
        assert live.damaged is None
        assert upkeep.recall is not None
        assert upkeep.recall.recall == 1.0
        path = live.searcher.snapshot.folder / "constants.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        again = Upkeep(live)
        again.inspect()
        assert live.damaged == path
