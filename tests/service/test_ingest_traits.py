"""What ingest finds of tracks beside encodings: genres of their tags, and their tempo."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen import id3
from sqlalchemy import select

from service import catalogue
from service.database import Database
from service.settings import Settings
from service.tables import TrackRow
from service.tags import read_tags
from tests.models.test_tempo import clicks
from tests.service.conftest import write_tone

frames: Any = id3  # its functions carry no types


def write_clicks(path: Path, bpm: float) -> Path:
    soundfile.write(path, clicks(bpm, seconds=12), 16_000)
    return path


def traits(settings: Settings) -> dict[str, tuple[float | None, list[str]]]:
    """Each track's tempo and tags, by its title."""
    with closing(Database(settings.database)) as database, database.reading() as session:
        tracks = session.scalars(select(TrackRow)).all()
    return {track.title: (track.bpm, [tag.tag for tag in track.tags]) for track in tracks}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["Alt. Rock"], ("alt. rock",)),
        (["Rock; Jazz, ROCK /  Acid\tJazz"], ("rock", "jazz", "acid jazz")),
        (["Dub\0Ska", "dub"], ("dub", "ska")),
        ([" ;, / "], ()),
        (["x" * 300], ("x" * 100,)),
        (["İ" * 100], ("i̇" * 50,)),  # longer in lower case
        ([str(number) for number in range(50)], tuple(map(str, range(20)))),
    ],
)
def test_genres_are_split_and_cleaned(
    written: list[str], read: tuple[str, ...], tmp_path: Path
) -> None:
    path = write_tone(tmp_path / "a.flac", 0)
    tags: Any = mutagen.File(path)
    tags["genre"] = written
    tags.save()
    assert read_tags(path).genres == read


def test_numbers_of_genres_become_names(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    tags: Any = mutagen.File(path)
    tags.add_tags()
    tags.tags.add(frames.TCON(encoding=3, text=["(17)", "Indie"]))
    tags.save()
    assert read_tags(path).genres == ("rock", "indie")


def test_genres_of_a_real_recording_become_tags(
    tmp_path: Path, tiny_bundle_folder: Path, real_recording: Path
) -> None:
    settings = Settings(home=tmp_path / "home")
    catalogue.ingest(settings, [real_recording], bundle=tiny_bundle_folder)
    ((bpm, tags),) = traits(settings).values()
    assert bpm is None  # nobody asked
    assert tags == ["alt. rock"]


def test_tempo_comes_with_its_setting_also_to_known_tracks(
    tmp_path: Path, tiny_bundle_folder: Path
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    write_clicks(music / "old.flac", 90)
    settings = Settings(home=tmp_path / "home")
    catalogue.ingest(settings, [music], bundle=tiny_bundle_folder)
    assert traits(settings) == {"old": (None, [])}

    write_clicks(music / "new.flac", 110)
    soundfile.write(music / "noise.flac", np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
    asking = Settings(home=tmp_path / "home", tempo=True)
    report = catalogue.ingest(asking, [music])
    assert (report.added, report.skipped, report.tempi, report.windows) == (2, 1, 2, 2)
    found = {title: bpm for title, (bpm, _) in traits(settings).items()}
    assert found == {
        "old": pytest.approx(90, rel=0.01),
        "new": pytest.approx(110, rel=0.01),
        "noise": None,
    }
    again = catalogue.ingest(asking, [music])
    assert (again.added, again.skipped, again.tempi) == (0, 3, 0)
    assert again.heard == 1  # what has no tempo is listened to again


def test_the_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings().tempo
    monkeypatch.setenv("CIRCUMPLEX_TEMPO", "1")
    assert Settings().tempo
