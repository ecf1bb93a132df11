"""Which files ingest takes, which track they belong to, and when they count as taken."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from models.bundle import Bundle
from service import catalogue, repository
from service.database import Database
from service.ingest.ear import contains_digest, sorted_digests
from service.ingest.files import audio_files, count_audio_files
from service.ingest.hearing import Failed, Hearer, Known, Wanted
from service.ingest.report import IngestReport
from service.ingest.writing import Writer
from service.settings import Settings
from tests.service.conftest import write_tone


@pytest.fixture
def settings(tmp_path: Path, tiny_bundle_folder: Path) -> Settings:
    made = Settings(home=tmp_path / "home")
    catalogue.register_bundle(made, tiny_bundle_folder)
    return made


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with closing(Database(settings.database)) as opened:
        yield opened


def paths_of(database: Database) -> list[str]:
    with database.reading() as session:
        return [track.path for track in repository.page_of_tracks(session, None, 500)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_overlapping_folders_give_each_file_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp3", "a/b/2.mp3", "a/b/notes.txt", "a/.hidden/3.mp3", "c/4.OGG")
    asked = [tmp_path / "a" / "b", tmp_path / "a", tmp_path / "c", tmp_path / "c" / "4.OGG"]
    asked += [tmp_path / "a" / "b" / "notes.txt", tmp_path / "a" / ".hidden", tmp_path / "a"]
    failed: list[Path] = []
    found = list(audio_files(asked, lambda path, _: failed.append(path)))
    # What is named is taken: a file whatever its suffix, a folder though it is hidden.
    names = ["a/1.mp3", "a/b/2.mp3", "c/4.OGG", "a/b/notes.txt", "a/.hidden/3.mp3"]
    assert found == [tmp_path / name for name in names]
    assert failed == []
    assert count_audio_files(asked) == len(found)


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp3")
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    asked = [tmp_path / "a", tmp_path / "link"]
    assert list(audio_files(asked, lambda *_: None)) == [tmp_path / "a" / "1.mp3"]


def test_a_moved_file_is_found_behind_another_in_its_old_place(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    write_tone(music / "1.flac", 0)
    catalogue.ingest(settings, [music])
    shutil.move(music / "1.flac", music / "2.flac")
    write_tone(music / "1.flac", 1)
    report = catalogue.ingest(settings, [music])
    assert (report.added, report.skipped) == (1, 1)
    assert paths_of(database) == [str(music / "2.flac"), str(music / "1.flac")]


def test_files_count_once_they_are_committed(
    database: Database, bundle: Bundle, tmp_path: Path
) -> None:
    path = write_tone(tmp_path / "1.flac", 0)
    hearer = Hearer(bundle, lambda _: Wanted(encoding=True, tempo=False), max_audio_s=60)
    report = IngestReport()
    writer = Writer(database, bundle.id, report)
    assert writer.write(path, hearer.hear(path)) == 0
    assert (report.added, report.heard, paths_of(database)) == (0, 0, [])
    assert writer.write(tmp_path / "2.flac", Failed("no music")) == 1
    assert writer.flush() == 1
    assert (report.added, report.heard, paths_of(database)) == (1, 1, [str(path)])
    assert report.failed == [(tmp_path / "2.flac", "no music")]
    assert writer.flush() == 0


def test_a_group_is_committed_when_it_is_large(
    database: Database, bundle: Bundle, tmp_path: Path
) -> None:
    writer = Writer(database, bundle.id, IngestReport())
    path = write_tone(tmp_path / "1.flac", 0)
    known = Known(hashlib.sha256(path.read_bytes()).hexdigest())
    settled = [writer.write(path, known) for _ in range(64)]
    assert sum(settled) == 64
    assert max(settled) == 32


def test_every_digest_is_found_again_and_no_other() -> None:
    contents = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(3_000)]
    contents += ["00" * 32, "00" * 31 + "01", "01" + "00" * 31, "ff" * 32, "ff" * 31 + "00"]
    assert sum(content.endswith("00") for content in contents) > 5  # numpy drops zeros at the end
    digests = sorted_digests(contents)
    assert all(contains_digest(digests, content) for content in contents)
    others = [hashlib.sha256(str(-number).encode()).hexdigest() for number in range(1, 3_000)]
    assert not any(contains_digest(digests, content) for content in others)
    assert not contains_digest(digests, "02" + "00" * 31)
    assert not contains_digest(sorted_digests([]), contents[0])
