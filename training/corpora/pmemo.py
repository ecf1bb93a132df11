"""PMEmo2019: choruses of pop songs, rated by ten listeners or more at 2 Hz in [0, 1].

Layout as it is published: ``annotations/dynamic_annotations.csv`` (``musicId,frameTime,
Arousal(mean),Valence(mean)``), ``chorus/<id>.mp3`` and ``metadata.csv``.

Which moment a row describes: ``frameTime`` is counted from the beginning of the clip. The first is
15.5 of every clip, and the last is the last whole half second within it (0.14 s before its end at
the median): so a row is the half second that *ends* at its ``frameTime``, and the first 15 s have
been dropped. A step of our curves is the half second that begins at its time: they start at 15.0 s.
"""

from __future__ import annotations

import csv
from pathlib import Path

from models.curve import CURVE_RATE_HZ, Curve, CurveError
from training.corpora.corpus import Corpus, Piece
from training.corpora.labels import first_few, read_labels
from training.corpora.official import refuse_if_wrong, warn_of_other_content

LICENCE = "repository: MIT; the songs are commercial recordings"
CITATION = (
    "K. Zhang, H. Zhang, S. Li, C. Yang and L. Sun, 'The PMEmo dataset for music emotion "
    "recognition', in Proc. ACM International Conference on Multimedia Retrieval (ICMR), 2018."
)
SOURCE = (
    "It comes from https://github.com/HuiZhangDB/PMEmo (the version of 2019), unpacked so that "
    "annotations/ and chorus/<id>.mp3 lie in this folder"
)
SONGS = 701
TRAINING_SONGS = 560
SHORTEST_SPAN_S = 7.0
"""From the first annotation to the last. Takashima et al. 2023 keep what has "at least 7 s", and
have 701 songs: so they count the seconds between, not the half seconds, which would give 717."""

ANNOTATIONS_FILE = "annotations/dynamic_annotations.csv"
CHECKSUMS = {ANNOTATIONS_FILE: "4d7fe35b3558590546bc854056a6d9bd47f8bac79e55958bd667810be5066b9b"}
_COLUMNS = ("musicId", "frameTime", "Arousal(mean)", "Valence(mean)")

_Row = tuple[float, float, float]


def load_pmemo(root: Path) -> Corpus:
    """Read PMEmo from its folder: songs by number, each with its whole curve in [-1, 1].

    Curves are as long as their clips, 8 s to 73 s: their length alone nearly names the song (see
    length_leak.py). Songs whose recording is not there are kept, for use with ``--features``.

    Raises:
        CorpusError: the file or a column is missing, a song's rows are not numbers in [0, 1] at
            increasing times, or fewer than 701 songs are long enough. One message names all of
            it, and where PMEmo comes from.
    """
    problems: list[str] = []
    rows = _read_rows(root, problems)
    curves: dict[int, tuple[float, Curve]] = {}
    wrong = []
    for number in sorted(rows):
        times_s, arousal, valence = (list(column) for column in zip(*rows[number], strict=True))
        if times_s[-1] - times_s[0] < SHORTEST_SPAN_S:
            continue
        try:
            curve = Curve.from_points(arousal, valence, times_s=times_s, scale="unit")
        except CurveError as error:
            wrong.append(f"{number} ({error})")
            continue
        curves[number] = times_s[0] - 1 / CURVE_RATE_HZ, curve
    if wrong:
        problems.append(f"{ANNOTATIONS_FILE}: wrong curves of songs {first_few(wrong)}")
    if not problems and len(curves) < SONGS:
        problems.append(
            f"{len(curves)} of {SONGS} songs with {SHORTEST_SPAN_S} s of annotations or more"
        )
    refuse_if_wrong("PMEmo", root, problems, SOURCE)
    warn_of_other_content("PMEmo", root, CHECKSUMS)

    labels = read_labels(root / "metadata.csv")
    pieces = tuple(
        Piece(
            str(number),
            labels.get(str(number), str(number)),
            curve,
            start_s,
            _recording(root, number),
        )
        for number, (start_s, curve) in curves.items()
    )
    return Corpus("pmemo", LICENCE, CITATION, pieces, TRAINING_SONGS / SONGS, SOURCE)


def _read_rows(root: Path, problems: list[str]) -> dict[int, list[_Row]]:
    """Read (time in s, arousal, valence) rows by song; what is wrong is added to ``problems``."""
    songs: dict[int, list[_Row]] = {}
    wrong_lines = []
    try:
        with (root / ANNOTATIONS_FILE).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or [])]
            if missing:
                problems.append(f"{ANNOTATIONS_FILE} lacks columns: {', '.join(missing)}")
                return {}
            for line, row in enumerate(rows, start=2):
                try:
                    time_s, arousal, valence = (float(row[name]) for name in _COLUMNS[1:])
                    songs.setdefault(int(row["musicId"]), []).append((time_s, arousal, valence))
                except (TypeError, ValueError):
                    wrong_lines.append(line)
    except OSError as error:
        problems.append(f"{ANNOTATIONS_FILE} cannot be read ({error.strerror})")
    if wrong_lines:
        problems.append(f"{ANNOTATIONS_FILE}: no numbers in lines {first_few(wrong_lines)}")
    return songs


def _recording(root: Path, number: int) -> Path | None:
    path = root / "chorus" / f"{number}.mp3"
    return path if path.is_file() else None
