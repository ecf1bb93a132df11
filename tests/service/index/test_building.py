"""What a segment's files hold, and what its building measured."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.similarity import Encodings, composite_similarity
from service.errors import StartError
from service.index.building import Examiners, write_index, write_windows
from service.index.frame import Frame
from service.index.partition import SketchIndex
from service.index.segment import HalfEncodings, open_segment
from service.index.shelf import Segment
from service.index.sketch import fit_sketch
from service.index.vectors import search_device
from tests.service.index.material import SCALE, Towers, windows_of, write_segment


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    weight=st.floats(0, 1),
    far=st.sampled_from([0.0, 3.0, 1_000.0]),
    flat=st.booleans(),
)
def test_a_frame_changes_no_score(seed: int, weight: float, far: float, flat: bool) -> None:
    rng = np.random.default_rng(seed)

    def draw(count: int) -> Encodings:
        return Encodings(
            rng.normal(size=(count, 6)),
            far + rng.normal(size=(count, 6)),
            np.ones((count, 6)) if flat else rng.uniform(0.01, 2, (count, 6)),
        )

    items, query = draw(30), draw(3)
    frame = Frame.of(items)
    vectors, offset = frame.questions(query, weight=weight, divergence_scale=SCALE)
    scores = vectors.astype(np.float64) @ frame.items(items).T.astype(np.float64)
    expected = composite_similarity(query, items, weight=weight, divergence_scale=SCALE)
    np.testing.assert_allclose(scores + offset[:, None], expected, rtol=1e-3, atol=2e-3)


def test_encodings_come_back_from_a_frame() -> None:
    items = Towers(12).items(50)
    frame = Frame.of(items)
    back = frame.encodings(frame.items(items)[:, :-1])
    np.testing.assert_allclose(back.mean, items.mean, atol=1e-5)
    np.testing.assert_allclose(back.variance, items.variance, rtol=1e-5)
    expected = composite_similarity(items, items, weight=0.5, divergence_scale=SCALE)
    found = composite_similarity(items, back, weight=0.5, divergence_scale=SCALE)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_sketch_takes_the_rank_that_it_needs() -> None:
    towers = Towers(24)
    items = towers.items(3_000)
    frame = Frame.of(items)
    blocks = [towers.queries(60, seed=seed) for seed in (40, 41)]
    framed = frame.items(items)
    sketch = fit_sketch(frame, framed, blocks[:1], {"curves": blocks[1]}, SCALE)
    assert 16 <= sketch.rank <= 48
    most = fit_sketch(frame, framed, blocks[:1], {"curves": blocks[1]}, SCALE, ranks=(4,))
    assert most.rank == 4


def test_what_was_measured_is_told(segment: Segment) -> None:
    assert isinstance(segment.index, SketchIndex)
    assert segment.index.partition is not None
    assert 0 < segment.index.effort.cells < segment.index.partition.cells


def test_few_windows_are_scanned(tmp_path: Path) -> None:
    towers = Towers(8)
    small = write_segment(tmp_path, towers.items(500), towers.queries(30))
    assert isinstance(small.index, SketchIndex)
    assert small.index.partition is None
    proposals = small.index.propose(towers.queries(2), 7, weight=0.5, divergence_scale=SCALE)
    assert proposals.exhaustive
    assert all(first >= second for row in proposals.scores for first, second in pairwise(row))


def test_half_precision_drops_the_single(tmp_path: Path) -> None:
    towers = Towers(32)
    items = towers.items(300)
    segment = write_segment(tmp_path, items, towers.queries(30), precision="half")
    assert isinstance(segment.encodings, HalfEncodings)
    assert not (tmp_path / "encodings.npy").exists()
    stored = segment.encodings.take(np.arange(300))
    query = towers.queries(3)
    np.testing.assert_allclose(
        composite_similarity(query, stored, weight=0.5, divergence_scale=SCALE),
        composite_similarity(query, items, weight=0.5, divergence_scale=SCALE),
        atol=2e-3,
    )


def test_half_precision_is_refused_where_it_changes_answers(tmp_path: Path) -> None:
    towers = Towers(8)
    # So close to one another that half precision cannot tell them apart.
    near = towers.encode(1e-3 * np.random.default_rng(0).normal(size=(400, 5)))
    one = towers.encode(np.full((1, 5), 30.0))
    items = Encodings.stack([near, one])
    with pytest.raises(StartError, match="CIRCUMPLEX_INDEX_PRECISION=single"):
        write_segment(tmp_path, items, towers.queries(30), precision="half")


def test_another_order_of_text_is_brought_into_ours(tmp_path: Path) -> None:
    items = Towers(4).items(6)
    rows = windows_of(items, per_track=2)
    shuffled = [*rows[4:6], *rows[0:2], *rows[2:4]]
    assert write_windows(tmp_path, shuffled, 6, 4) == ["0000000", "0000001", "0000002"]
    stored = np.load(tmp_path / "encodings.npy")
    np.testing.assert_array_equal(stored[:, 1], items.mean)


@pytest.mark.parametrize("count", [5, 7])
def test_windows_that_change_while_they_are_read_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(StartError, match="again"):
        write_windows(tmp_path, windows_of(Towers(4).items(6)), count, 4)


def test_no_windows_make_a_segment_too(tmp_path: Path) -> None:
    empty = Towers(4).items(0)
    segment = write_segment(tmp_path, empty, Towers(4).queries(9))
    assert len(segment) == 0
    assert open_segment(tmp_path, {}, "auto").encodings.dimensions == 4


def test_building_again_gives_the_same_files(tmp_path: Path) -> None:
    towers = Towers(6)
    for name in ("one", "two"):
        write_segment(tmp_path / name, towers.items(300), towers.queries(30))
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_gpu_that_is_not_there_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    enormous = 1 << 60
    assert search_device("auto", enormous) == "cpu"
    assert "exhaustive searches run on the CPU" in caplog.text
    with pytest.raises(RuntimeError, match="GPU"):
        search_device("cuda", enormous)


def test_an_index_of_nothing_but_curves_can_be_measured(tmp_path: Path) -> None:
    towers = Towers(4)
    write_windows(tmp_path, windows_of(towers.items(3)), 3, 4)
    measured = write_index(tmp_path, Examiners(towers.queries(2), SCALE), "single")
    assert measured["half_precision_agreement"] > 0.9


def test_encodings_that_no_sketch_holds_are_scanned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(4)

    def noise(count: int) -> Encodings:
        embedding, mean, spread = rng.normal(size=(3, count, 64)).astype(np.float32)
        return Encodings(embedding, mean, np.exp(spread / 2))

    items = noise(20_000)
    segment = write_segment(tmp_path / "noise", items, noise(90))
    assert "every search will be exhaustive" in caplog.text
    query = noise(1)
    proposals = segment.index.propose(query, 10, weight=1.0, divergence_scale=SCALE)
    scores = composite_similarity(query, items, weight=1.0, divergence_scale=SCALE)[0]
    assert proposals.exhaustive
    assert set(proposals.rows[0].tolist()) == set(np.argsort(-scores)[:10].tolist())
