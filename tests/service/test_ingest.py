from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

import mutagen
import mutagen.id3
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from models.audio import decode
from models.bundle import Bundle, save_bundle
from service import catalogue, repository
from service.database import Database
from service.errors import StartError
from service.settings import Settings
from service.tags import clean_text, read_tags
from tests.conftest import tiny_bundle
from tests.service.conftest import run_python, wait_for, write_tone

id3: Any = mutagen.id3  # its functions carry no types

_KILLED_FILES = 120  # several transactions


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(("2.flac", "1.flac", "b/3.FLAC")):
        write_tone(folder / name, number)
    return folder


def stored(settings: Settings, bundle_id: str) -> dict[str, tuple[str, int]]:
    """Each track's path and number of windows, by title."""
    database = Database(settings.database)
    with database.reading() as session:
        tracks = repository.page_of_tracks(session, None, 500)
        found = {
            track.title: (
                track.path,
                len(repository.windows_of_track(session, track.id, bundle_id)),
            )
            for track in tracks
        }
    database.close()
    return found


def test_a_second_run_has_nothing_to_do(
    settings: Settings, music: Path, tiny_bundle_folder: Path, bundle: Bundle
) -> None:
    first = catalogue.ingest(settings, [music], bundle=tiny_bundle_folder)
    assert (first.added, first.skipped, first.windows, first.failed) == (3, 0, 3, [])
    before = stored(settings, bundle.id)
    second = catalogue.ingest(settings, [music])
    assert (second.added, second.skipped, second.windows) == (0, 3, 0)
    assert stored(settings, bundle.id) == before
    assert list(before) == ["1", "2", "3"]


def test_bad_files_are_listed_and_passed_over(
    settings: Settings, music: Path, tiny_bundle_folder: Path
) -> None:
    (music / "text.mp3").write_text("no music")
    (music / "empty.ogg").touch()
    soundfile.write(music / "short.wav", np.ones(100), 16_000)
    (music / "notes.txt").write_text("not looked at")
    (music / "._hidden.mp3").write_text("not looked at")
    (music / "dangling.mp3").symlink_to(music / "nothing")
    (music / "folder.mp3").mkdir()
    report = catalogue.ingest(settings, [music, music / "nowhere"], bundle=tiny_bundle_folder)
    assert report.added == 3
    reasons = {path.name: reason for path, reason in report.failed}
    assert set(reasons) == {"text.mp3", "empty.ogg", "short.wav", "dangling.mp3", "nowhere"}
    assert all(reasons.values())
    again = catalogue.ingest(settings, [music])
    assert (again.added, again.skipped, len(again.failed)) == (0, 3, 4)


def test_a_name_that_is_no_unicode_is_listed(
    settings: Settings, music: Path, tiny_bundle_folder: Path
) -> None:
    shutil.copy(music / "1.flac", str(music) + "/\udcff.flac")
    report = catalogue.ingest(settings, [music], bundle=tiny_bundle_folder)
    assert [reason for _, reason in report.failed] == [
        "the file's name is not valid Unicode: rename it"
    ]


def test_a_moved_file_keeps_its_track(
    settings: Settings, music: Path, tiny_bundle_folder: Path, bundle: Bundle
) -> None:
    catalogue.ingest(settings, [music], bundle=tiny_bundle_folder)
    shutil.move(music / "1.flac", music / "renamed.flac")
    report = catalogue.ingest(settings, [music])
    assert (report.added, report.skipped) == (0, 3)
    assert stored(settings, bundle.id)["1"] == (str(music / "renamed.flac"), 1)


def test_copies_are_one_track(
    settings: Settings, music: Path, tiny_bundle_folder: Path, bundle: Bundle
) -> None:
    shutil.copy(music / "1.flac", music / "copy.flac")
    for _ in range(2):
        report = catalogue.ingest(settings, [music], bundle=tiny_bundle_folder)
        assert report.added + report.skipped == 4
        assert stored(settings, bundle.id)["1"] == (str(music / "1.flac"), 1)


def test_windows_are_those_of_the_bundle(
    settings: Settings, tmp_path: Path, tiny_bundle_folder: Path, bundle: Bundle
) -> None:
    path = write_tone(tmp_path / "long.flac", 0, seconds=50)
    catalogue.ingest(settings, [path], bundle=tiny_bundle_folder)
    encoded = bundle.encode_recording(decode(path.read_bytes()))
    database = Database(settings.database)
    with database.reading() as session:
        track = repository.page_of_tracks(session, None, 1)[0]
        rows = repository.windows_of_track(session, track.id, bundle.id)
    database.close()
    assert [(row.start_s, row.end_s) for row in rows] == [(0, 30), (15, 45), (20, 50)]
    for row, embedding in zip(rows, encoded.encodings.embedding, strict=True):
        np.testing.assert_allclose(row.embedding, embedding, rtol=1e-5, atol=1e-6)


def test_another_bundle_encodes_the_known_tracks(
    settings: Settings, music: Path, tiny_bundle_folder: Path, tmp_path: Path, bundle: Bundle
) -> None:
    catalogue.ingest(settings, [music], bundle=tiny_bundle_folder)
    other = tmp_path / "tiny"  # the same name
    other_id = save_bundle(tiny_bundle(1), other)
    report = catalogue.ingest(settings, [music / "1.flac"], bundle=other)
    assert (report.added, report.windows) == (1, 1)
    index = catalogue.build_index(settings)
    assert (index.bundle_id, index.tracks, index.tracks_not_encoded) == (other_id, 1, 2)
    assert stored(settings, bundle.id)["1"][1] == 1
    assert stored(settings, other_id)["1"][1] == 1
    catalogue.register_bundle(settings, tiny_bundle_folder)
    assert catalogue.build_index(settings).tracks == 3


def test_without_a_bundle_it_says_what_to_do(settings: Settings, music: Path) -> None:
    with pytest.raises(StartError, match="circumplex train"):
        catalogue.ingest(settings, [music])


def test_a_damaged_bundle_is_not_registered(
    settings: Settings, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(tiny_bundle_folder, tmp_path / "damaged"))
    weights = bytearray((damaged / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "weights.safetensors").write_bytes(weights)
    with pytest.raises(StartError, match="checksum"):
        catalogue.register_bundle(settings, damaged)


def test_registering_repairs_the_copy(
    settings: Settings, music: Path, tiny_bundle_folder: Path
) -> None:
    catalogue.ingest(settings, [music], bundle=tiny_bundle_folder)
    (settings.bundles_folder / "tiny" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(StartError, match="checksum"):
        catalogue.build_index(settings)
    catalogue.register_bundle(settings, tiny_bundle_folder)
    assert catalogue.build_index(settings).tracks == 3


def test_an_empty_catalogue_has_an_index(
    settings: Settings, tmp_path: Path, tiny_bundle_folder: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    catalogue.ingest(settings, [tmp_path / "nothing"], bundle=tiny_bundle_folder)
    report = catalogue.verify_index(settings)
    assert (report.tracks, report.recall) == (0, 1.0)


def test_a_killed_run_is_continued(
    settings: Settings, tmp_path: Path, tiny_bundle_folder: Path, bundle: Bundle
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(_KILLED_FILES):
        write_tone(folder / f"{number:02}.flac", number, seconds=6)
    code = f"""
from pathlib import Path
from service.catalogue import ingest
from service.settings import Settings
ingest(Settings(), [Path({str(folder)!r})], bundle=Path({str(tiny_bundle_folder)!r}))
"""
    catalogue.register_bundle(settings, tiny_bundle_folder)
    process = run_python(code, settings.home)
    wait_for(lambda: len(stored(settings, bundle.id)) >= 3, seconds=60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    before = stored(settings, bundle.id)
    assert 3 <= len(before) < _KILLED_FILES
    assert all(windows == 1 for _, windows in before.values())
    report = catalogue.ingest(settings, [folder])
    assert (report.added, report.skipped) == (_KILLED_FILES - len(before), len(before))
    assert catalogue.verify_index(settings).tracks == _KILLED_FILES


def test_tags_are_read_and_cleaned(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "stem.flac", 0)
    assert read_tags(path).title == "stem"
    tags: Any = mutagen.File(path)
    tags["title"] = " A\x07 long\n title "
    tags["artist"] = "x" * 1_000
    tags.save()
    found = read_tags(path)
    assert found.title == "A long title"
    assert found.artist == "x" * 300
    assert found.album is None


def test_tags_of_a_real_recording(real_recording: Path) -> None:
    found = read_tags(real_recording)
    assert found.title
    assert found.title != real_recording.stem
    assert found.artist


def test_wav_titles_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    tags: Any = mutagen.File(path)
    tags.add_tags()
    tags.tags.add(id3.TIT2(encoding=3, text=["Waves"]))
    tags.save()
    assert read_tags(path).title == "Waves"


def test_broken_tags_do_not_fail_a_file(
    settings: Settings, tmp_path: Path, tiny_bundle_folder: Path, real_recording: Path
) -> None:
    path = tmp_path / "broken.mp3"
    tag = id3.ID3()
    tag.add(id3.TIT2(encoding=3, text=["Title"]))
    tag.save(path)
    broken = bytearray(path.read_bytes())
    broken[10:60] = bytes(range(200, 250))
    path.write_bytes(bytes(broken) + real_recording.read_bytes())
    report = catalogue.ingest(settings, [path], bundle=tiny_bundle_folder)
    assert (report.added, report.failed) == (1, [])


@given(st.text())
def test_cleaned_text_can_be_stored_and_sent(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert len(cleaned) <= 300
    assert "\0" not in cleaned
    assert clean_text(cleaned) == cleaned
