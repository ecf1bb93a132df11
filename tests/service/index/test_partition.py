"""The approximate search against the definition in float64: for every λ, every filter, every k."""

from __future__ import annotations

import numpy as np
import pytest

from models.similarity import Encodings, composite_similarity
from service.filtering import Filters
from service.index.protocol import NOTHING, Admission, Proposals
from service.index.shelf import Segment, Shelf
from service.index.traits import TrackFilter
from service.ranking import Choice, rank
from tests.service.index.material import SCALE, Towers

WEIGHTS = (0.0, 0.02, 0.2, 0.5, 0.9, 1.0)


def truth(
    items: Encodings, query: Encodings, weight: float, mask: np.ndarray, k: int = 10
) -> list[set[int]]:
    """The best tracks (three windows each) by the definition, over the rows of a mask."""
    scores = composite_similarity(query, items, weight=weight, divergence_scale=SCALE)
    scores[:, ~mask] = -np.inf
    best = scores.reshape(len(query), -1, 3).max(axis=2)
    return [{int(track) for track in np.argsort(-row)[:k] if row[track] > -np.inf} for row in best]


def recall(
    segment: Segment,
    items: Encodings,
    query: Encodings,
    weight: float,
    choice: Choice,
    mask: np.ndarray,
    *,
    exact: bool = False,
) -> float:
    shelf = Shelf.of(segment)
    kept = wanted = 0
    for row, expected in enumerate(truth(items, query, weight, mask)):
        hits = rank(
            shelf,
            query.take([row]),
            10,
            weight=weight,
            divergence_scale=SCALE,
            choice=choice,
            exact=exact,
        )
        found = {int(hit.owner_id) for hit in hits}
        assert all(mask[hit.row] for hit in hits)
        kept += len(found & expected)
        wanted += len(expected)
    return kept / wanted


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("kind", ["curves", "recordings"])
def test_recall_at_every_weight(
    segment: Segment, items: Encodings, towers: Towers, weight: float, kind: str
) -> None:
    query = towers.queries(20, seed=31) if kind == "curves" else items.take(range(0, 2_000, 100))
    everything = np.ones(len(items), np.bool_)
    choice = Choice((None,))
    assert recall(segment, items, query, weight, choice, everything) >= 0.995
    assert recall(segment, items, query, weight, choice, everything, exact=True) == 1.0


@pytest.mark.parametrize(
    ("wanted", "share"),
    [
        (TrackFilter(tags=("half",)), 0.5),
        (TrackFilter(artists=("artist 3",)), 0.01),
        (TrackFilter(tags=("RARE",)), 0.0001),
        (TrackFilter(artists=("Artist 4", "artist 6"), tags=("half",), bpm_low=90), 0.014),
        (TrackFilter(bpm_low=80, bpm_high=130), 0.5),
    ],
)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_filters_go_down_into_the_search(
    segment: Segment,
    items: Encodings,
    towers: Towers,
    wanted: TrackFilter,
    share: float,
    weight: float,
) -> None:
    tracks = np.arange(len(segment.owner_ids))
    bpm = 60 + tracks / len(tracks) * 100
    mask = np.ones(len(tracks), np.bool_)
    if wanted.artists:
        mask &= np.isin(tracks % 100, [int(name.split()[1]) for name in wanted.artists])
    if wanted.tags == ("half",):
        mask &= tracks % 2 == 0
    if wanted.tags == ("RARE",):
        mask &= tracks % 10_000 == 7
    if wanted.bpm_low is not None:
        mask &= bpm >= wanted.bpm_low
    if wanted.bpm_high is not None:
        mask &= bpm <= wanted.bpm_high
    rows = np.repeat(mask, 3)
    assert rows.mean() == pytest.approx(share, rel=0.6)
    choice = Filters(Shelf.of(segment)).choice(wanted)
    assert recall(segment, items, towers.queries(12, seed=32), weight, choice, rows) >= 0.99


@pytest.mark.parametrize("pages", [2, 60])
def test_answers_that_a_caller_has_seen_can_be_excluded(
    segment: Segment, items: Encodings, towers: Towers, pages: int
) -> None:
    query = towers.queries(1, seed=33)
    scores = composite_similarity(query, items, weight=0.5, divergence_scale=SCALE)
    best = np.argsort(-scores.reshape(-1, 3).max(axis=1))
    seen = best[: 10 * pages]
    mask = np.ones(len(items) // 3, np.bool_)
    mask[seen] = False
    choice = Filters(Shelf.of(segment)).choice(None, [f"{track:07}" for track in seen])
    assert recall(segment, items, query, 0.5, choice, np.repeat(mask, 3)) == 1.0


def test_rows_that_count_no_more_are_never_proposed(
    segment: Segment, items: Encodings, towers: Towers
) -> None:
    query = towers.queries(5, seed=34)
    mask = np.random.default_rng(5).random(len(items) // 3) > 0.3
    rows = np.repeat(mask, 3)
    choice = Choice((Admission(rows),))
    assert recall(segment, items, query, 0.3, choice, rows) >= 0.99


def test_the_scores_of_proposals_are_near_the_definition(
    segment: Segment, items: Encodings, towers: Towers
) -> None:
    query = towers.queries(4, seed=35)
    proposals = segment.index.propose(query, 30, weight=0.4, divergence_scale=SCALE)
    true = composite_similarity(query, items, weight=0.4, divergence_scale=SCALE)
    for row, (rows, scores) in enumerate(zip(proposals.rows, proposals.scores, strict=True)):
        np.testing.assert_allclose(scores, true[row, rows], atol=3e-3)
    assert not proposals.exhaustive


def test_one_alone_and_in_a_batch_is_proposed_the_same(segment: Segment, towers: Towers) -> None:
    query = towers.queries(6, seed=36)

    def propose(asked: Encodings, exact: bool) -> Proposals:
        return segment.index.propose(asked, 20, weight=0.5, divergence_scale=SCALE, exact=exact)

    for exact in (False, True):
        together = propose(query, exact)
        for row in range(len(query)):
            alone = propose(query.take([row]), exact)
            assert len(set(alone.rows[0]) & set(together.rows[row])) >= 19
            assert NOTHING not in alone.rows


def test_more_than_there_are_can_be_asked_for(segment: Segment, towers: Towers) -> None:
    mask = np.zeros(len(segment), np.bool_)
    mask[[5, 70, 900]] = True
    for exact in (False, True):
        proposals = segment.index.propose(
            towers.queries(2),
            50,
            weight=0.5,
            divergence_scale=SCALE,
            admission=Admission(mask),
            exact=exact,
        )
        assert [set(rows) - {NOTHING} for rows in proposals.rows.tolist()] == 2 * [{5, 70, 900}]
