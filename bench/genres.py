"""Where a recipe fails on DEAM, by genre: retrieval and the estimate of held-out songs.

Trained as ``circumplex train`` does it on the song-level table, once for each seed's split, and
every held-out song counts once for each split that holds it out. A genre is the first that a song's
metadata name; in 2014 a hundred songs were chosen by each. Genres of few songs count as other.

Ranks are divided by the number of items, so that 0 is best and chance is just above 0.5. As some
genres were annotated in one campaign only, each rank is given among all items and among those of
the song's campaign (training/campaigns.py). Errors are of a song's mean arousal and valence, in
[-1, 1]; R² is against the mean of the genre's own songs: 0 is as good as always saying that mean.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.timing import Report
from models.bundle import Bundle
from models.curve import CURVE_RATE_HZ
from training.campaigns import within_campaign
from training.corpora.corpus import Corpus
from training.corpora.deam import load_deam
from training.estimate_metrics import r_squared, rmse
from training.evaluation import piece_scores
from training.examples import Example
from training.features import Features, load_features
from training.metrics import chance_metrics, ranks
from training.pipeline import held_out, train_bundle
from training.recipes import CIRCUMPLEX, Recipe

OTHER = "other"
ALL = "all"
FEWEST_SONGS = 40
_DIRECTIONS = ("m2e", "e2m")
_AMONG = ("items", "campaign")
_AXES = (("arousal", 1), ("valence", 0))
_FIRST_GENRE = re.compile(r"hip-hop|[^-/]*")

Floats64 = NDArray[np.float64]


class JudgedSong(NamedTuple):
    """A held-out song: rank over number of items by direction and among which items, 0 to 1.

    ``chance`` is what chance gives of such a rank; ``estimate`` and ``truth`` are its mean
    (valence, arousal).
    """

    id: str
    places: Mapping[tuple[str, str], float]
    chance: Mapping[str, float]
    estimate: Floats64
    truth: Floats64


def load(deam: Path) -> tuple[Corpus, Features, dict[str, str]]:
    """Read DEAM's folder, the song-level table in it, and the genre of each song."""
    features = load_features(deam / "features_song_level_opensmile.csv")
    return load_deam(deam), features, read_genres(deam / "metadata")


def read_genres(metadata: Path) -> dict[str, str]:
    """Return each song's first genre by its id, in lower case, from DEAM's metadata of three years.

    Raises:
        FileNotFoundError: there is no metadata_2013.csv, _2014.csv or _2015.csv.
        KeyError: one of them has no column song_id or Genre.
    """
    genres = {}
    for year in (2013, 2014, 2015):
        path = metadata / f"metadata_{year}.csv"
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            for row in csv.DictReader(file):
                genres[row["song_id"].strip()] = first_genre(row["Genre"])
    return genres


def first_genre(named: str) -> str:
    """Return the first of genres joined by dashes or slashes, as in "Hip-Hop-Electronic-Rock"."""
    found = _FIRST_GENRE.match(named.strip('"\t ').lower())
    assert found is not None, "the pattern also matches nothing"
    return found.group().strip()


def grouped(genres: Mapping[str, str], songs: Sequence[str], fewest: int) -> dict[str, str]:
    """Return the genre of each of ``songs``; one of fewer than ``fewest``, or none, is other."""
    counts = Counter(genres.get(song, OTHER) for song in songs)
    return {
        song: genres[song] if song in genres and counts[genres[song]] >= fewest else OTHER
        for song in songs
    }


def run(
    corpus: Corpus,
    features: Features,
    genres: Mapping[str, str],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    recipe: Recipe = CIRCUMPLEX,
    fewest_songs: int = FEWEST_SONGS,
) -> Report:
    """Train a bundle for each seed, and report on its held-out songs by genre; takes minutes."""
    campaigns = {piece.id: piece.campaign for piece in corpus.pieces}
    genre_of = grouped(genres, list(campaigns), fewest_songs)
    songs: list[JudgedSong] = []
    for seed in seeds:
        print(f"seed {seed} of {', '.join(map(str, seeds))}", file=sys.stderr, flush=True)
        bundle, _ = train_bundle(corpus, features, None, recipe, "mlp", seed=seed)
        songs += _judge(bundle, held_out(bundle, corpus, features), campaigns)
    rows = []
    found = {genre_of[song.id] for song in songs}
    for name in sorted(found, key=lambda genre: (genre == OTHER, genre)):
        years = Counter(campaigns[id_] for id_, genre in genre_of.items() if genre == name)
        rows.append(_row(name, years, [song for song in songs if genre_of[song.id] == name]))
    rows.append(_row(ALL, Counter(campaigns.values()), songs))
    return {
        "corpus": corpus.name,
        "recipe": recipe.name,
        "seeds": list(seeds),
        "chance_rank_over_items": _mean([song.chance["items"] for song in songs]),
        "chance_rank_over_campaign": _mean([song.chance["campaign"] for song in songs]),
        "genres": rows,
    }


def _judge(
    bundle: Bundle, songs: Sequence[Example], campaigns: Mapping[str, str]
) -> list[JudgedSong]:
    own = np.array([campaigns[song.id] for song in songs])
    items = {"items": np.full(len(songs), len(songs)), "campaign": np.sum(own[:, None] == own, 1)}
    scores = piece_scores(
        bundle.music,
        bundle.emotion,
        list(songs),
        weight=bundle.manifest.weight,
        divergence_scale=bundle.manifest.divergence_scale,
    )
    places = {}
    for direction, matrix in zip(_DIRECTIONS, scores, strict=True):
        places[direction, "items"] = ranks(matrix) / items["items"]
        places[direction, "campaign"] = ranks(within_campaign(matrix, own)) / items["campaign"]
    judged = []
    for number, song in enumerate(songs):
        heard = bundle.encode_features(song.features, song.duration_s)
        estimate = bundle.estimator.estimate(heard.encodings, heard.starts_s, song.duration_s)
        judged.append(
            JudgedSong(
                song.id,
                {key: float(place[number]) for key, place in places.items()},
                {
                    among: chance_metrics(int(count[number]))["ar"] / int(count[number])
                    for among, count in items.items()
                },
                np.array(estimate.overall),
                # The annotation may go on after the recording; the estimate cannot.
                song.curve.values[: round(song.duration_s * CURVE_RATE_HZ)].mean(axis=0),
            )
        )
    return judged


def _row(genre: str, songs_by_campaign: Mapping[str, int], songs: Sequence[JudgedSong]) -> Report:
    row: Report = {
        "genre": genre,
        "songs_by_campaign": dict(sorted(songs_by_campaign.items())),
        "held_out": len(songs),
        "held_out_songs": len({song.id for song in songs}),
    }
    for among in _AMONG:
        for direction in _DIRECTIONS:
            name = f"{direction}_rank_over_{among}"
            row[name] = _mean([song.places[direction, among] for song in songs])
    for axis, column in _AXES:
        estimate = np.array([song.estimate[column] for song in songs])
        truth = np.array([song.truth[column] for song in songs])
        row[f"{axis}_rmse"] = rmse(estimate, truth)
        row[f"{axis}_bias"] = float(np.mean(estimate - truth))
        row[f"{axis}_r2"] = r_squared(estimate, truth)
    return row


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
