"""Several servers over one PostgreSQL and one folder of snapshots."""

from __future__ import annotations

import itertools
import shutil
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from service import catalogue, repository
from service.compaction import compact, is_under_way
from service.database import Database
from service.index.snapshot import current_id
from service.settings import Settings
from tests.service.conftest import Server, start_server, wait_for, write_tone
from tests.service.postgres import Postgres

TONES = 24
_NAMES = (f"replicas-{number}" for number in itertools.count())
_SOON_S = 5.0
_REST_S = 0.01  # leaves something of the cores to a build of lowest priority
_QUERIES: tuple[dict[str, Any], ...] = (
    {"mood": "calm"},
    {"mood": "excited", "weight": 1.0},
    {"point": {"arousal": 0.6, "valence": -0.4}},
)


@pytest.fixture(scope="module")
def ingested(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, tiny_bundle_folder: Path
) -> Settings:
    """A catalogue on PostgreSQL for tests to copy."""
    root = tmp_path_factory.mktemp("replicas")
    tones = [write_tone(root / f"tone-{number}.flac", number) for number in range(TONES)]
    name = next(_NAMES)
    settings = Settings(home=root / "home", database_url=postgres.create(name))
    assert catalogue.ingest(settings, tones, bundle=tiny_bundle_folder).added == TONES
    return settings


def copy(postgres: Postgres, ingested: Settings, root: Path) -> Settings:
    template = make_url(ingested.database_url).database or ""
    home = Path(shutil.copytree(ingested.home, root / "home"))
    return Settings(home=home, database_url=postgres.create(next(_NAMES), template))


@contextmanager
def replicas(settings: Settings, **environment: str) -> Iterator[list[Server]]:
    """Two servers, started together; a test may stop them and put others into the list."""

    def start(number: int) -> Server:
        time.sleep(number / 10)  # their logs are named by the moment
        return start_server(
            settings.home, CIRCUMPLEX_DATABASE_URL=settings.database_url, **environment
        )

    with ThreadPoolExecutor(2) as pool:
        running = list(pool.map(start, range(2)))
    try:
        yield running
    finally:
        statuses = [server.stop() for server in running]
    assert statuses == [0, 0]
    assert all("Traceback" not in server.log.read_text() for server in running)


@pytest.fixture(scope="module")
def settings(
    postgres: Postgres, ingested: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return copy(postgres, ingested, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def pair(settings: Settings) -> Iterator[list[Server]]:
    """Two servers that tests may change the catalogue under."""
    with replicas(settings) as running:
        yield running


def search(server: Server, query: dict[str, Any]) -> dict[str, Any]:
    response = server.client.post("/v1/search/tracks", json={**query, "k": 100})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    answer.pop("took_ms")
    return answer


def found(server: Server) -> list[str]:
    return [result["track"]["id"] for result in search(server, _QUERIES[0])["results"]]


def ready(server: Server) -> dict[str, Any]:
    answer: dict[str, Any] = server.client.get("/readyz").raise_for_status().json()
    return answer


def all_soon(servers: Sequence[Server], condition: Callable[[Server], bool]) -> None:
    wait_for(lambda: all(condition(server) for server in servers), _SOON_S)


class Asking:
    """A client that asks servers in turn, with hardly a rest, until it is told to stop."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.answers: dict[int, list[httpx.Response]] = defaultdict(list)
        self.took_s: list[float] = []
        self._bases = [str(server.client.base_url) for server in servers]
        self._done = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._asking = self._pool.submit(self._ask)

    def _ask(self) -> None:
        clients = [httpx.Client(base_url=base, timeout=30) for base in self._bases]
        while not self._done.is_set():
            for number, client in enumerate(clients):
                started_s = time.perf_counter()
                answer = client.post("/v1/search/tracks", json={"mood": "calm", "k": 100})
                self.took_s.append(time.perf_counter() - started_s)
                self.answers[number].append(answer)
                time.sleep(_REST_S)
        for client in clients:
            client.close()

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._asking.result(timeout=60)
        self._pool.shutdown()


def test_both_answer_the_same(pair: list[Server]) -> None:
    first, second = pair
    for query in _QUERIES:
        answers = [search(server, query) for server in pair]
        assert answers[0] == answers[1]
        assert len(answers[0]["results"]) == TONES
    track_id = found(first)[0]
    similar = [
        server.client.post("/v1/search/similar", json={"track_id": track_id}).json()["results"]
        for server in pair
    ]
    assert similar[0] == similar[1] != []
    page = first.client.get("/v1/tracks", params={"limit": 10}).json()
    following = {"limit": 100, "cursor": page["next_cursor"]}
    rest = second.client.get("/v1/tracks", params=following).json()
    assert len({item["id"] for item in page["items"] + rest["items"]}) == TONES


def test_a_deleted_track_is_gone_at_once_here_and_soon_there(pair: list[Server]) -> None:
    first, second = pair
    track_id = found(first)[0]
    assert first.client.delete(f"/v1/tracks/{track_id}").status_code == 204
    assert track_id not in found(first)
    assert second.client.get(f"/v1/tracks/{track_id}").status_code == 404
    assert track_id not in found(second), "the database is asked for the tracks of an answer"
    assert search(first, _QUERIES[1]) == search(second, _QUERIES[1])
    assert second.client.delete(f"/v1/tracks/{track_id}").status_code == 404
    # Before the other has followed, the deleted one takes a place of an answer that is cut short.
    nearest = {"mood": "calm", "k": 1}

    def answers(server: Server) -> bool:
        results = server.client.post("/v1/search/tracks", json=nearest).json()["results"]
        return [result["rank"] for result in results] == [1]

    all_soon(pair, answers)


def test_an_emotion_added_here_is_soon_found_there(pair: list[Server], tmp_path: Path) -> None:
    curve = {"times_s": [0.0, 10.0], "arousal": [0.31, 0.32], "valence": [-0.41, -0.42]}
    body = {"label": "Seen by both", "curve": curve}
    added = pair[0].client.post("/v1/emotions", json=body)
    assert added.status_code == 201, added.text
    wait_for(lambda: len({ready(server)["emotions"] for server in pair}) == 1, _SOON_S)
    audio = write_tone(tmp_path / "asked.flac", 500).read_bytes()
    answers = []
    for server in pair:
        response = server.client.post(
            "/v1/search/emotions", files={"audio": audio}, data={"k": "100"}
        )
        answers.append(response.json()["results"])
        assert added.json()["id"] in {result["emotion"]["id"] for result in answers[-1]}
    assert answers[0] == answers[1]


def test_what_another_process_ingests_is_found_by_both(
    pair: list[Server], settings: Settings, tmp_path: Path
) -> None:
    before = current_id(settings.snapshots_folder)
    known = len(found(pair[0]))
    new = [write_tone(tmp_path / f"new-{number}.flac", 1_000 + number) for number in range(3)]
    assert catalogue.ingest(settings, new).added == 3
    all_soon(pair, lambda server: len(found(server)) == known + 3)
    assert current_id(settings.snapshots_folder) == before
    assert search(pair[0], _QUERIES[1]) == search(pair[1], _QUERIES[1])


def test_a_new_index_is_taken_by_both_without_a_failed_request(
    pair: list[Server], settings: Settings
) -> None:
    expected = found(pair[0])
    ids = [ready(pair[0])["index"]]
    with Asking(pair) as asking:
        for _ in range(3):
            ids.append(catalogue.build_index(settings).id)
            all_soon(pair, lambda server: bool(ready(server)["index"] == ids[-1]))
    assert len(set(ids)) == 4
    for answers in asking.answers.values():
        assert {answer.status_code for answer in answers} == {200}
        seen = [answer.json() for answer in answers]
        for answer in seen:
            assert [result["track"]["id"] for result in answer["results"]] == expected
        # Each index in its turn, none that never was, and none again once it was replaced.
        assert [index for index, _ in itertools.groupby(a["index"] for a in seen)] == ids


def test_while_the_database_is_away_both_say_so_and_then_go_on(
    postgres: Postgres, pair: list[Server]
) -> None:
    before = [search(server, _QUERIES[0]) for server in pair]
    postgres.stop()
    try:
        for server in pair:
            for answer in (
                server.client.get("/readyz"),
                server.client.post("/v1/search/tracks", json=_QUERIES[0]),
            ):
                assert answer.status_code == 503, answer.text
                assert answer.json()["code"] == "unavailable"
                assert "database" in answer.json()["detail"]
            assert server.client.get("/livez").status_code == 200
    finally:
        postgres.start()
    assert [search(server, _QUERIES[0]) for server in pair] == before


def test_what_one_leaves_the_other_goes_on_with(pair: list[Server], settings: Settings) -> None:
    expected = search(pair[1], _QUERIES[2])
    with Asking(pair[1:]) as asking:
        killed = pair[0]
        assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
        deleted = expected["results"][-1]["track"]["id"]
        assert pair[1].client.delete(f"/v1/tracks/{deleted}").status_code == 204
        time.sleep(0.5)
    assert {answer.status_code for answer in asking.answers[0]} == {200}
    assert len(asking.answers[0]) > 10
    pair[0] = start_server(settings.home, CIRCUMPLEX_DATABASE_URL=settings.database_url)
    assert deleted not in found(pair[0])
    assert search(pair[0], _QUERIES[2]) == search(pair[1], _QUERIES[2])


def test_one_of_them_compacts_while_both_go_on_answering(
    postgres: Postgres, ingested: Settings, tmp_path: Path
) -> None:
    settings = copy(postgres, ingested, tmp_path)
    before = current_id(settings.snapshots_folder)
    with replicas(settings, CIRCUMPLEX_COMPACT_AFTER="3") as pair:
        doomed = found(pair[0])[:5]
        with Asking(pair) as asking:
            for number, track_id in enumerate(doomed):
                server = pair[number % 2]
                assert server.client.delete(f"/v1/tracks/{track_id}").status_code == 204
            wait_for(lambda: current_id(settings.snapshots_folder) != before, 150)
            built = current_id(settings.snapshots_folder)
            all_soon(pair, lambda server: bool(ready(server)["index"] == built))
            wait_for(lambda: not is_under_way(settings), 30)
            time.sleep(2)  # for another build to start, were there one
        assert current_id(settings.snapshots_folder) == built
        kept = {path.name for path in settings.snapshots_folder.iterdir() if path.is_dir()}
        assert kept == {before, built}, "one of them built, once"
        for answers in asking.answers.values():
            assert {answer.status_code for answer in answers} == {200}
            seen = [answer.json() for answer in answers]
            indexes = [index for index, _ in itertools.groupby(a["index"] for a in seen)]
            assert indexes == [before, built]
            of_new = [len(a["results"]) for a in seen if a["index"] == built]
            assert set(of_new) == {TONES - len(doomed)}
        # Nobody waits for a build, which takes seconds; cores may be short meanwhile.
        assert max(asking.took_s) < 1.0
    assert catalogue.verify_index(settings).tracks == TONES - len(doomed)


def test_of_many_compactions_one_builds(
    postgres: Postgres, ingested: Settings, tmp_path: Path
) -> None:
    settings = copy(postgres, ingested, tmp_path)
    before = current_id(settings.snapshots_folder)
    assert before is not None
    with closing(Database(settings.database)) as database, database.writing() as session:
        assert repository.delete_track(session, repository.page_of_tracks(session, None, 1)[0].id)
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda _: compact(settings, before), range(4)))
    assert sorted(built) == [False, False, False, True]
    assert not compact(settings, before), "it is replaced"
    assert catalogue.verify_index(settings).tracks == TONES - 1
