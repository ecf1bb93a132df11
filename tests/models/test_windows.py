"""Windows cover the whole, and the last ends with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.windows import (
    PATCH_S,
    WINDOW_HOP_S,
    WINDOW_PATCHES,
    WINDOW_S,
    window_patches,
    window_starts_s,
)


def test_the_sizes_of_the_design() -> None:
    assert (WINDOW_S, WINDOW_HOP_S, PATCH_S) == (30.0, 15.0, 0.96)
    assert int(WINDOW_S / PATCH_S) == WINDOW_PATCHES == 31


@pytest.mark.parametrize(
    ("duration_s", "starts_s"),
    [
        (0.5, [0.0]),
        (29.9, [0.0]),
        (30.0, [0.0]),
        (37.0, [0.0, 7.0]),
        (45.0, [0.0, 15.0]),
        (45.1, [0.0, 15.1]),
        (50.0, [0.0, 15.0, 20.0]),
        (60.0, [0.0, 15.0, 30.0]),
    ],
)
def test_known_durations(duration_s: float, starts_s: list[float]) -> None:
    assert window_starts_s(duration_s) == pytest.approx(starts_s)


@given(duration_s=st.floats(0.001, 3_600.0))
def test_windows_cover_the_whole(duration_s: float) -> None:
    starts_s = window_starts_s(duration_s)
    assert starts_s[0] == 0.0
    assert max(starts_s[-1] + WINDOW_S, WINDOW_S) == pytest.approx(max(duration_s, WINDOW_S))
    gaps_s = np.diff(starts_s)
    assert (gaps_s > 0).all()
    # The last regular window may move to the end, by less than half a patch; none overtakes.
    assert (gaps_s < WINDOW_HOP_S + PATCH_S / 2).all()


@given(duration_s=st.floats(0.98, 3_600.0))
def test_patches_of_every_window_lie_inside(duration_s: float) -> None:
    patches = max(int((duration_s - 0.015) / PATCH_S), 1)
    features = np.arange(patches, dtype=np.float32)[:, None]
    heard = np.zeros(patches, bool)
    for start_s in window_starts_s(duration_s):
        window = window_patches(features, start_s)
        assert len(window) == min(WINDOW_PATCHES, patches)
        first = int(window[0, 0])
        assert window[:, 0].tolist() == list(range(first, first + len(window)))
        # A window is heard where it lies, to a patch: half by rounding, half by the file's end.
        assert abs(first * PATCH_S - start_s) < PATCH_S + 0.02
        heard[first : first + len(window)] = True
    assert heard.all()


@pytest.mark.parametrize("patches", [1, 5, 30])
@pytest.mark.parametrize("start_s", [0.0, 3.0, 500.0])
def test_what_is_shorter_than_a_window_is_given_whole(patches: int, start_s: float) -> None:
    features = np.zeros((patches, 3), np.float32)
    assert window_patches(features, start_s).shape == (patches, 3)


def test_the_last_patches_are_heard() -> None:
    features = np.arange(47, dtype=np.float32)[:, None]  # 45.1 s
    assert window_patches(features, 15.0).ravel().tolist() == list(range(16, 47))
    assert window_patches(features, 400.0).ravel().tolist() == list(range(16, 47))
