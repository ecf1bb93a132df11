"""What ``python -m bench genres`` says of each genre is what the songs of that genre gave."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import __main__ as command_line
from bench import genres
from tests.test_bench import TINY, tiny_corpus
from training.corpora.corpus import Corpus
from training.evaluation import piece_scores
from training.features import Features
from training.pipeline import held_out, train_bundle

RECIPE = replace(TINY, epochs=4, validate_every=2)
SEEDS = (0, 3)
FEWEST = 8


@pytest.fixture(scope="module")
def corpus() -> tuple[Corpus, Features]:
    corpus, features = tiny_corpus(40)
    campaigns = ("2013", "2013", "2014")
    pieces = [
        replace(piece, campaign=campaigns[number % 3]) for number, piece in enumerate(corpus.pieces)
    ]
    return replace(corpus, train_share=0.6, pieces=tuple(pieces)), features


@pytest.fixture(scope="module")
def genre_of(corpus: tuple[Corpus, Features]) -> dict[str, str]:
    """Twenty songs of jazz, ten of folk, seven of a rare genre, three of which nothing is known."""
    named = ["jazz"] * 20 + ["folk"] * 10 + ["noise"] * 7
    ids = [piece.id for piece in corpus[0].pieces]
    order = np.random.default_rng(0).permutation(len(ids))
    return {ids[place]: genre for place, genre in zip(order, named, strict=False)}


@pytest.fixture(scope="module")
def report(corpus: tuple[Corpus, Features], genre_of: dict[str, str]) -> dict[str, Any]:
    return genres.run(*corpus, genre_of, seeds=SEEDS, recipe=RECIPE, fewest_songs=FEWEST)


def test_rare_and_unknown_genres_are_other(report: dict[str, Any]) -> None:
    assert [row["genre"] for row in report["genres"]] == ["folk", "jazz", "other", "all"]
    songs = [sum(row["songs_by_campaign"].values()) for row in report["genres"]]
    assert songs == [10, 20, 10, 40]
    assert report["genres"][-1]["songs_by_campaign"] == {"2013": 27, "2014": 13}
    held_out_songs = [row["held_out"] for row in report["genres"]]
    assert sum(held_out_songs[:-1]) == held_out_songs[-1] == 16 * len(SEEDS)


def test_every_figure_beside_a_plain_oracle(
    report: dict[str, Any], corpus: tuple[Corpus, Features], genre_of: dict[str, str]
) -> None:
    campaign = {piece.id: piece.campaign for piece in corpus[0].pieces}
    found: dict[str, list[dict[str, float]]] = {"folk": [], "jazz": [], "other": [], "all": []}
    seen: dict[str, list[str]] = {name: [] for name in found}
    for seed in SEEDS:
        bundle, figures = train_bundle(*corpus, None, RECIPE, "mlp", seed=seed)
        songs = held_out(bundle, *corpus)
        scores = piece_scores(
            bundle.music,
            bundle.emotion,
            songs,
            weight=bundle.manifest.weight,
            divergence_scale=bundle.manifest.divergence_scale,
        )
        for row, song in enumerate(songs):
            one: dict[str, float] = {}
            own = [i for i, each in enumerate(songs) if campaign[each.id] == campaign[song.id]]
            for direction, matrix in zip(("m2e", "e2m"), scores, strict=True):
                for among, rivals in (("items", range(len(songs))), ("campaign", own)):
                    better = sum(bool(matrix[row, i] >= matrix[row, row]) for i in rivals)
                    one[f"{direction}_rank_over_{among}"] = better / len(rivals)
            heard = bundle.encode_features(song.features, song.duration_s)
            said = bundle.estimator.estimate(heard.encodings, heard.starts_s, song.duration_s)
            steps = int(song.duration_s / 0.5 + 0.5)
            for column, axis in enumerate(("valence", "arousal")):
                one[f"{axis}_truth"] = float(song.curve.values[:steps, column].mean())
                one[f"{axis}_error"] = said.overall[column] - one[f"{axis}_truth"]
            genre = genre_of.get(song.id, "other")
            for name in ("other" if genre == "noise" else genre, "all"):
                found[name].append(one)
                seen[name].append(song.id)
        # The pipeline's own figures of these songs, which a bundle's manifest carries.
        of_seed = found["all"][-len(songs) :]
        retrieval = figures["retrieval"]
        for direction, ar in (("m2e", retrieval["m2e"]["ar"]), ("e2m", retrieval["e2m"]["ar"])):
            places = [one[f"{direction}_rank_over_items"] for one in of_seed]
            assert np.mean(places) * len(songs) == pytest.approx(ar)
        for axis, error in (("valence", figures["valence"]), ("arousal", figures["arousal"])):
            squares = [one[f"{axis}_error"] ** 2 for one in of_seed]
            assert np.sqrt(np.mean(squares)) == pytest.approx(error["rmse_of_means"])
    for row in report["genres"]:
        name, ones = row["genre"], found[row["genre"]]
        assert (row["held_out"], row["held_out_songs"]) == (len(ones), len(set(seen[name])))
        for key in (k for k in row if "_rank_over_" in k):
            assert row[key] == pytest.approx(np.mean([one[key] for one in ones]))
        for axis in ("valence", "arousal"):
            errors = np.array([one[f"{axis}_error"] for one in ones])
            truths = np.array([one[f"{axis}_truth"] for one in ones])
            assert row[f"{axis}_rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
            assert row[f"{axis}_bias"] == pytest.approx(errors.mean())
            left = np.sum(errors**2) / np.sum((truths - truths.mean()) ** 2)
            assert row[f"{axis}_r2"] == pytest.approx(1 - left)


def test_chance_is_what_random_ranks_average(
    report: dict[str, Any], corpus: tuple[Corpus, Features]
) -> None:
    assert report["chance_rank_over_items"] == pytest.approx(17 / 32)
    assert 17 / 32 < report["chance_rank_over_campaign"] < 0.6


@pytest.mark.parametrize(
    ("named", "first"),
    [
        ("\tBlues\t", "blues"),
        ("SoulRB-Country-Folk-Pop-Experimental-Rock-Blues", "soulrb"),
        ("Hip-Hop-Electronic", "hip-hop"),
        ("Electronic/Fusion", "electronic"),
        ("rock", "rock"),
        ("", ""),
    ],
)
def test_the_first_genre(named: str, first: str) -> None:
    assert genres.first_genre(named) == first


@given(st.dictionaries(st.text(max_size=3), st.sampled_from("abcd")), st.integers(1, 6))
def test_groups_are_large_or_other(genre_of: dict[str, str], fewest: int) -> None:
    songs = [*genre_of, "a song without a genre"]
    groups = genres.grouped(genre_of, songs, fewest)
    assert list(groups) == list(dict.fromkeys(songs))
    plain = Counter(genre_of.values())
    for song, group in groups.items():
        named = genre_of.get(song)
        assert group == (named if named is not None and plain[named] >= fewest else genres.OTHER)


def test_genres_of_deam(shared_data: Path) -> None:
    found = genres.read_genres(shared_data / "deam" / "metadata")
    assert len(found) == 1802
    groups = Counter(genres.grouped(found, list(found), genres.FEWEST_SONGS).values())
    # 2013 names one genre a song; in 2014 a hundred songs were chosen by each of ten.
    assert set(groups) - {genres.OTHER} == {
        *("blues", "classical", "country", "electronic", "folk", "hip-hop"),
        *("international", "jazz", "pop", "rock", "soulrb"),
    }
    assert groups["hip-hop"] == groups["international"] == 100
    assert groups["classical"] == 116 + 100 + 6
    assert groups[genres.OTHER] < 40


def test_the_command_reads_deam(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shared_data: Path
) -> None:
    def run(corpus: Corpus, features: Features, named: dict[str, str]) -> dict[str, Any]:
        assert {piece.id for piece in corpus.pieces} == set(features) == set(named)
        return {"corpus": corpus.name, "songs": len(named)}

    monkeypatch.setattr(genres, "run", run)
    command_line.main(["genres", "--data", str(shared_data / "vgmidi"), "--json"])
    assert json.loads(capsys.readouterr().out) == {"genres": {"corpus": "deam", "songs": 1802}}
