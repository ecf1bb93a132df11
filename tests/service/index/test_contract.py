"""What every search engine keeps: the same questions to FAISS, flat and parted, and to Milvus."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.similarity import Encodings, composite_similarity
from service.index.flat import FlatIndex
from service.index.milvus import MilvusIndex, MilvusStore, open_store
from service.index.partition import SketchIndex
from service.index.protocol import NOTHING, Admission, SearchIndex
from service.index.shelf import Segment
from service.index.traits import TrackFilter, Traits, folded
from tests.service.index.material import SCALE, Towers

SNAPSHOT = "20260101T000000000000-0123456789ab"
WEIGHTS = [0.0, 0.3, 1.0]
HOSTILE = [
    'a "quoted" name',
    "it's",
    "back\\slash\\",
    '" or row >= 0 or artist == "',
    "] or row in [1",
    "{placeholder}",
    "new\nline\ttab\x00nul",
    "%_",
    "Ünïcödé 🎵 \u2028",
    "-2",
    "x" * 5_000,
]
ENGINES = ["flat", "sketch", "milvus"]


@pytest.fixture(scope="session")
def hostile(segment: Segment) -> Segment:
    """The segment with names that would break out of a carelessly written expression."""
    traits = segment.traits
    assert traits is not None
    names = [f"artist {number}" for number in range(89)] + list(map(folded, HOSTILE))
    tags = [name for name in HOSTILE if name != "-2"]
    places = np.arange(len(traits))
    ids = segment.owner_ids.tolist()
    known = [
        (owner_id.decode(), names[place % 100], 60 + place / len(ids) * 100 if place % 7 else None)
        for place, owner_id in zip(places.tolist(), ids, strict=True)
    ]
    tagged = [(owner_id.decode(), "half") for owner_id in ids[::2]]
    tagged += [(owner_id.decode(), tags[place % 10]) for place, owner_id in enumerate(ids)]
    tagged += [(ids[5].decode(), "rare"), (ids[5].decode(), "half")]
    return replace(segment, traits=Traits.of(segment.owner_ids, known, tagged))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> MilvusStore:
    store = open_store(str(tmp_path_factory.mktemp("milvus") / "sketches.db"))
    assert store is not None
    return store


@pytest.fixture(scope="session")
def engines(hostile: Segment, items: Encodings, store: MilvusStore) -> dict[str, SearchIndex]:
    store.fill(SNAPSHOT, hostile)
    assert isinstance(hostile.index, SketchIndex)
    assert hostile.traits is not None
    return {
        "flat": FlatIndex.build(items),
        "sketch": hostile.index,
        "milvus": store.index(SNAPSHOT, hostile.index, hostile.traits, hostile.owners),
    }


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, engines: dict[str, SearchIndex]) -> SearchIndex:
    return engines[request.param]


@pytest.fixture(scope="session")
def queries(towers: Towers, items: Encodings) -> Encodings:
    """Curves and recordings in turn."""
    parts = (towers.queries(20, seed=31), items.take(range(0, 20_000, 1_000)))
    return Encodings(
        *(
            np.stack([getattr(part, name) for part in parts], axis=1).reshape(40, -1)
            for name in ("embedding", "mean", "variance")
        )
    )


@pytest.fixture
def query(engine: SearchIndex, queries: Encodings) -> Encodings:
    """What an engine is asked; milvus-lite is written in Python and takes its time."""
    return queries.take(range(0, 40, 3 if isinstance(engine, MilvusIndex) else 1))


def truth(query: Encodings, items: Encodings, weight: float) -> np.ndarray:
    """The definition, in float64."""
    return composite_similarity(query, items, weight=weight, divergence_scale=SCALE)


def best(scores: np.ndarray, mask: np.ndarray, count: int = 10) -> np.ndarray:
    return np.argsort(-np.where(mask, scores, -np.inf), axis=1)[:, : min(count, int(mask.sum()))]


def recall(rows: np.ndarray, true: np.ndarray) -> float:
    return float(
        np.mean([np.isin(wanted, found).mean() for wanted, found in zip(true, rows, strict=True)])
    )


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("exact", [False, True])
def test_the_best_are_proposed_best_first_with_their_scores(
    engine: SearchIndex, query: Encodings, items: Encodings, weight: float, exact: bool
) -> None:
    scores = truth(query, items, weight)
    proposals = engine.propose(query, 10, weight=weight, divergence_scale=SCALE, exact=exact)
    everything = np.ones(len(items), np.bool_)
    assert proposals.rows.shape == proposals.scores.shape == (len(query), 10)
    assert recall(proposals.rows, best(scores, everything)) >= (0.999 if exact else 0.99)
    assert proposals.exhaustive or not exact
    assert (np.diff(proposals.scores, axis=1) <= 0).all()
    seen = np.take_along_axis(scores, proposals.rows, axis=1)
    assert np.abs(seen - proposals.scores).max() < 0.02 * scores.std()


@pytest.mark.parametrize(
    "wanted",
    [
        TrackFilter(tags=("half",)),
        TrackFilter(bpm_low=80.1, bpm_high=130.0),
        TrackFilter(bpm_high=110.5),
        TrackFilter(artists=tuple(HOSTILE)),
        TrackFilter(artists=("ARTIST 3 ",)),
        TrackFilter(artists=("artist 4", "artist 6", "nobody"), tags=("Half",), bpm_low=90.0),
        TrackFilter(tags=("rare", "half")),
        TrackFilter(tags=("half", "no such tag")),
    ],
    ids=lambda wanted: repr(wanted)[11:60],
)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_filters_keep_what_they_let_through(
    engine: SearchIndex,
    hostile: Segment,
    query: Encodings,
    items: Encodings,
    wanted: TrackFilter,
    weight: float,
) -> None:
    assert hostile.traits is not None
    mask = hostile.traits.admitted(wanted)[hostile.owners]
    proposals = engine.propose(
        query, 10, weight=weight, divergence_scale=SCALE, admission=Admission(mask, wanted=wanted)
    )
    real = proposals.rows != NOTHING
    assert mask[proposals.rows[real]].all()
    assert (real.sum(axis=1) == min(10, mask.sum())).all()
    if mask.any():
        assert recall(proposals.rows, best(truth(query, items, weight), mask)) >= 0.99


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_breaks_out_of_a_filter(
    engine: SearchIndex, hostile: Segment, query: Encodings, items: Encodings, name: str
) -> None:
    assert hostile.traits is not None
    artists = (name, *(f"artist {number}" for number in range(60)))
    wanted = TrackFilter(artists=artists)
    mask = hostile.traits.admitted(wanted)[hostile.owners]
    assert mask[hostile.traits.admitted(TrackFilter(artists=(name,)))[hostile.owners]].all()
    assert 4_096 < mask.sum() < len(mask)
    proposals = engine.propose(
        query, 10, weight=0.3, divergence_scale=SCALE, admission=Admission(mask, wanted=wanted)
    )
    assert mask[proposals.rows].all()
    assert recall(proposals.rows, best(truth(query, items, 0.3), mask)) >= 0.99


@pytest.mark.parametrize("dead", [30, 4_000, 9_000])
@pytest.mark.parametrize("wanted", [None, TrackFilter(tags=("half",))])
def test_what_the_mask_forbids_is_passed_over(
    engine: SearchIndex,
    hostile: Segment,
    query: Encodings,
    items: Encodings,
    dead: int,
    wanted: TrackFilter | None,
) -> None:
    assert hostile.traits is not None
    mask = np.ones(len(items), np.bool_)
    if wanted is not None:
        mask &= hostile.traits.admitted(wanted)[hostile.owners]
    mask[np.random.default_rng(8).choice(len(items), dead, replace=False)] = False
    proposals = engine.propose(
        query, 10, weight=0.3, divergence_scale=SCALE, admission=Admission(mask, wanted=wanted)
    )
    assert mask[proposals.rows].all()
    assert recall(proposals.rows, best(truth(query, items, 0.3), mask)) >= 0.99


@pytest.mark.parametrize("hidden", [40, 400])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_what_is_hidden_makes_room_for_the_next(
    engine: SearchIndex, query: Encodings, items: Encodings, weight: float, hidden: int
) -> None:
    one = query.take([0])
    scores = truth(one, items, weight)
    mask = np.ones(len(items), np.bool_)
    mask[best(scores, mask, hidden)[0]] = False
    proposals = engine.propose(
        one, 10, weight=weight, divergence_scale=SCALE, admission=Admission(mask, hidden=hidden)
    )
    assert mask[proposals.rows].all()
    assert recall(proposals.rows, best(scores, mask)) >= 0.99


def test_nothing_fills_up_where_few_may_be_proposed(engine: SearchIndex, query: Encodings) -> None:
    mask = np.zeros(len(engine), np.bool_)
    mask[[7, 70, 700]] = True
    proposals = engine.propose(
        query, 5, weight=0.3, divergence_scale=SCALE, admission=Admission(mask)
    )
    real = proposals.rows != NOTHING
    assert (real.sum(axis=1) == 3).all()
    assert (np.sort(proposals.rows[:, :3], axis=1) == [7, 70, 700]).all()
    assert np.isneginf(proposals.scores[~real]).all()
    assert np.isfinite(proposals.scores[real]).all()


def test_more_can_be_asked_for_than_milvus_answers(engine: SearchIndex, query: Encodings) -> None:
    proposals = engine.propose(query.take([0]), len(engine), weight=0.3, divergence_scale=SCALE)
    assert proposals.exhaustive
    assert len(np.unique(proposals.rows[proposals.rows != NOTHING])) == len(engine)
