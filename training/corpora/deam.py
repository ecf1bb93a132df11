"""DEAM: 1,802 excerpts and songs of 2013 to 2015, rated by about ten listeners each at 2 Hz.

Layout as it is published: ``annotations/annotations averaged per song/dynamic (per second
annotations)/arousal.csv`` and ``valence.csv`` (``song_id,sample_15000ms,sample_15500ms,...``, in
[-1, 1]), and ``audio/<id>.mp3`` (``MEMD_audio/<id>.mp3`` as the archive names it). Names of songs
(``metadata/``) and the ratings of each rater (see deam_raters.py) are taken where they are there.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.curve import CURVE_RATE_HZ, Curve
from training.corpora.corpus import Corpus, Piece
from training.corpora.deam_raters import rater_spread
from training.corpora.labels import first_few, read_labels
from training.corpora.official import refuse_if_wrong, warn_of_other_content

LICENCE = "annotations: research; recordings: Creative Commons, each as its tags say"
CITATION = (
    "A. Aljanaki, Y.-H. Yang and M. Soleymani, 'Developing a benchmark for emotional analysis of "
    "music', PLOS ONE 12(3), e0173392, 2017."
)
SOURCE = (
    "It comes from https://cvml.unige.ch/databases/DEAM/: DEAM_Annotations.zip unpacked to "
    "annotations/, DEAM_audio.zip to audio/<id>.mp3 or MEMD_audio/<id>.mp3"
)
SONGS = 1_802
TRAINING_SONGS = 1_441
START_S = 15.0
STEPS = 60
"""Steps of 0.5 s from 15 s to 45 s. The 58 songs of 2015 are annotated whole: theirs are cut, as in
Takashima et al. 2023, so that all curves are of one length."""

_DYNAMIC = "annotations/annotations averaged per song/dynamic (per second annotations)"
AROUSAL_FILE = f"{_DYNAMIC}/arousal.csv"
VALENCE_FILE = f"{_DYNAMIC}/valence.csv"
CHECKSUMS = {
    AROUSAL_FILE: "5d36f2bd1555e620c3e86caf2979e590ae1da0411c63115cd34300380177f86d",
    VALENCE_FILE: "1f01e73794e57f2c4c502a742902dcb9b33173d0e181be214d24fa371345b596",
}
SAMPLE_COLUMNS = tuple(
    f"sample_{round(1000 * (START_S + step / CURVE_RATE_HZ))}ms" for step in range(STEPS)
)
_AUDIO_FOLDERS = ("audio", "MEMD_audio")
_METADATA = tuple(f"metadata/metadata_{year}.csv" for year in (2013, 2014, 2015))


def load_deam(root: Path) -> Corpus:
    """Read DEAM from its folder: songs by number, each with the 60 steps from 15 s to 45 s.

    Pieces whose recording is not there are kept, for use with ``--features``.

    Raises:
        CorpusError: a file or column is missing, a song has no value in [-1, 1] at one of the 60
            steps or is in one file only, or there are fewer than 1,802 songs. One message names
            all of it, and where DEAM comes from.
    """
    problems: list[str] = []
    arousal = _read_axis(root, AROUSAL_FILE, problems)
    valence = _read_axis(root, VALENCE_FILE, problems)
    on_both = sorted(arousal.keys() & valence.keys())
    on_one = sorted(arousal.keys() ^ valence.keys())
    if not problems and on_one:
        problems.append(f"songs in one of the two files only: {first_few(on_one)}")
    if not problems and len(on_both) < SONGS:
        problems.append(f"{len(on_both):,} of {SONGS:,} songs")
    refuse_if_wrong("DEAM", root, problems, SOURCE)
    warn_of_other_content("DEAM", root, CHECKSUMS)

    labels = {id_: name for path in _METADATA for id_, name in read_labels(root / path).items()}
    pieces = tuple(
        Piece(
            str(number),
            labels.get(str(number), str(number)),
            Curve(np.stack([valence[number], arousal[number]], axis=1)),
            START_S,
            _recording(root, number),
            rater_spread(root, number, SAMPLE_COLUMNS),
            _campaign(number),
        )
        for number in on_both
    )
    return Corpus("deam", LICENCE, CITATION, pieces, TRAINING_SONGS / SONGS, SOURCE)


def _read_axis(root: Path, relative: str, problems: list[str]) -> dict[int, NDArray[np.float64]]:
    """Read the 60 steps of every song, by its number; what is wrong is added to ``problems``."""
    try:
        with (root / relative).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            missing = [name for name in ("song_id", *SAMPLE_COLUMNS) if name not in columns]
            if missing:
                problems.append(f"{relative} lacks columns: {first_few(missing)}")
                return {}
            songs, wrong = {}, []
            for row in rows:
                try:
                    songs[int(row["song_id"])] = _checked([row[name] for name in SAMPLE_COLUMNS])
                except (TypeError, ValueError):
                    wrong.append(row["song_id"])
    except OSError as error:
        problems.append(f"{relative} cannot be read ({error.strerror})")
        return {}
    if wrong:
        problems.append(
            f"{relative}: {len(wrong)} songs without a value in [-1, 1] at each of the "
            f"{STEPS} steps from {START_S:.0f} s (song_id {first_few(wrong)})"
        )
    return songs


def _checked(cells: list[str]) -> NDArray[np.float64]:
    values = np.array([float(cell) for cell in cells])
    if not (np.abs(values) <= 1).all():  # NaN fails too
        raise ValueError("outside [-1, 1]")
    return values


def _campaign(number: int) -> str:
    """Return the year of MediaEval that a song was annotated for, as its metadata are filed."""
    return "2013" if number <= 1000 else "2014" if number <= 2000 else "2015"


def _recording(root: Path, number: int) -> Path | None:
    candidates = (root / folder / f"{number}.mp3" for folder in _AUDIO_FOLDERS)
    return next((path for path in candidates if path.is_file()), None)
