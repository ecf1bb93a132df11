"""Curves: what is refused and by which name, and what the accepted ones become."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.curve import (
    CURVE_MAX_POINTS,
    SCALES,
    WINDOW_STEPS,
    Curve,
    CurveError,
    Scale,
    from_signed,
    to_signed,
)
from tests.conftest import random_curve

RANGES: dict[Scale, tuple[float, float]] = {
    "signed": (-1.0, 1.0),
    "unit": (0.0, 1.0),
    "sam9": (1.0, 9.0),
}

intensities = st.floats(-1.0, 1.0)


def refusal(
    arousal: list[float],
    valence: list[float],
    *,
    rate_hz: float = 2.0,
    times_s: list[float] | None = None,
    scale: Scale = "signed",
) -> tuple[str, int | None, str]:
    """Return field, index and text with which a curve is refused."""
    with pytest.raises(CurveError) as refused:
        Curve.from_points(arousal, valence, rate_hz=rate_hz, times_s=times_s, scale=scale)
    return refused.value.field, refused.value.index, str(refused.value)


class TestScales:
    def test_there_are_three(self) -> None:
        assert set(SCALES) == set(RANGES)

    @pytest.mark.parametrize("scale", SCALES)
    def test_ends_and_middle(self, scale: Scale) -> None:
        low, high = RANGES[scale]
        assert to_signed([low, (low + high) / 2, high], scale).tolist() == [-1.0, 0.0, 1.0]

    @pytest.mark.parametrize("scale", SCALES)
    @given(value=intensities)
    def test_round_trip_from_inside(self, scale: Scale, value: float) -> None:
        written = from_signed([value], scale)
        assert abs(to_signed(written, scale)[0] - value) <= 1e-12
        low, high = RANGES[scale]
        assert low <= written[0] <= high

    @pytest.mark.parametrize("scale", SCALES)
    @given(share=st.floats(0.0, 1.0))
    def test_round_trip_from_outside(self, scale: Scale, share: float) -> None:
        low, high = RANGES[scale]
        value = min(low + share * (high - low), high)
        signed = to_signed([value], scale)
        assert abs(signed[0]) <= 1.0
        assert abs(from_signed(signed, scale)[0] - value) <= 1e-12

    @pytest.mark.parametrize("scale", SCALES)
    def test_a_curve_is_the_same_in_every_scale(self, scale: Scale) -> None:
        curve = random_curve(np.random.default_rng(3), 70)
        again = Curve.from_points(
            from_signed(curve.arousal, scale), from_signed(curve.valence, scale), scale=scale
        )
        assert np.abs(again.values - curve.values).max() <= 1e-12


class TestResampling:
    @given(values=st.lists(st.tuples(intensities, intensities), min_size=1, max_size=200))
    def test_two_hertz_passes_exactly(self, values: list[tuple[float, float]]) -> None:
        valence, arousal = (list(axis) for axis in zip(*values, strict=True))
        curve = Curve.from_points(arousal, valence)
        assert curve.values.tolist() == [list(value) for value in values]
        assert curve.valence.tolist() == valence
        assert curve.arousal.tolist() == arousal
        assert curve.duration_s == len(values) / 2

    @given(
        values=st.lists(st.tuples(intensities, intensities), min_size=1, max_size=300),
        rate_hz=st.floats(0.1, 50.0),
    )
    def test_any_rate_against_interpolation(
        self, values: list[tuple[float, float]], rate_hz: float
    ) -> None:
        assume((len(values) - 1) / rate_hz < 3_500)
        valence, arousal = (list(axis) for axis in zip(*values, strict=True))
        curve = Curve.from_points(arousal, valence, rate_hz=rate_hz)
        times = [index / rate_hz for index in range(len(values))]
        assert_interpolated(curve, times, values)

    @given(
        values=st.lists(st.tuples(intensities, intensities), min_size=1, max_size=60),
        start_s=st.floats(-1e4, 1e4),
        data=st.data(),
    )
    def test_any_times_against_interpolation(
        self, values: list[tuple[float, float]], start_s: float, data: st.DataObject
    ) -> None:
        gaps = data.draw(
            st.lists(st.floats(0.01, 50.0), min_size=len(values) - 1, max_size=len(values) - 1)
        )
        times = (start_s + np.cumsum([0.0, *gaps])).tolist()
        valence, arousal = (list(axis) for axis in zip(*values, strict=True))
        curve = Curve.from_points(arousal, valence, times_s=times)
        assert_interpolated(curve, [time - times[0] for time in times], values)

    def test_times_agree_with_the_rate(self) -> None:
        source = random_curve(np.random.default_rng(5), 40)
        at_rate = Curve.from_points(source.arousal, source.valence, rate_hz=5.0)
        at_times = Curve.from_points(
            source.arousal, source.valence, times_s=[7 + i / 5 for i in range(40)]
        )
        assert np.abs(at_rate.values - at_times.values).max() < 1e-12

    def test_times_win_over_the_rate(self) -> None:
        curve = Curve.from_points([0.0, 1.0], [0.0, -1.0], times_s=[0.0, 2.0], rate_hz=np.nan)
        assert curve.arousal.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert curve.valence.tolist() == [0.0, -0.25, -0.5, -0.75, -1.0]

    @pytest.mark.parametrize("rate", [Fraction(7, 3), Fraction(25, 3), Fraction(11, 5)])
    def test_rounding_takes_no_step_away(self, rate: Fraction) -> None:
        """At 7/3 Hz the 35th point lies at 15 s, or, in floating point, just before."""
        for points in range(1, 300):
            curve = Curve.from_points([0.5] * points, [0.1] * points, rate_hz=float(rate))
            assert len(curve.values) == math.floor(2 * (points - 1) / rate) + 1

    def test_arrays_are_as_good_as_lists(self) -> None:
        values = np.linspace(-1, 1, 9)
        assert np.array_equal(Curve.from_points(values, values[::-1]).arousal, values)


def assert_interpolated(
    curve: Curve, times: list[float], values: list[tuple[float, float]]
) -> None:
    steps = len(curve.values)
    assert (steps - 1) / 2 <= times[-1] + 1e-6
    assert times[-1] < steps / 2 + 1e-6
    for axis in (0, 1):
        expected = np.interp(np.arange(steps) * 0.5, times, [value[axis] for value in values])
        assert np.abs(curve.values[:, axis] - expected).max() < 1e-9


class TestWindows:
    def test_one_point_is_held_for_a_window(self) -> None:
        curve = Curve.from_points([0.3], [-0.7])
        assert curve.duration_s == 0.5
        (window,) = curve.windows()
        assert (window.start_s, window.end_s) == (0.0, 30.0)
        assert window.curve.values.tolist() == [[-0.7, 0.3]] * WINDOW_STEPS
        assert WINDOW_STEPS == 60

    def test_a_constant_is_one_window(self) -> None:
        curve = Curve.constant(arousal=9.0, valence=3.0, scale="sam9")
        assert curve.values.tolist() == [[-0.5, 1.0]] * 60
        assert len(curve.windows()) == 1

    def test_a_constant_outside_its_scale(self) -> None:
        with pytest.raises(CurveError) as refused:
            Curve.constant(arousal=0.0, valence=1.5)
        assert refused.value.field == "valence"

    @pytest.mark.parametrize("steps", [1, 59, 60, 61, 62, 63, 89, 90, 91, 120, 121, 359, 7_200])
    def test_they_cover_the_curve_and_end_with_it(self, steps: int) -> None:
        curve = random_curve(np.random.default_rng(steps), steps)
        windows = curve.windows()
        held = np.concatenate([curve.values, np.repeat(curve.values[-1:], 60, axis=0)])
        covered = np.zeros(max(steps, 60), bool)
        for window in windows:
            first = round(window.start_s * 2)
            assert first == window.start_s * 2
            assert window.end_s == window.start_s + 30.0
            assert np.array_equal(window.curve.values, held[first : first + 60])
            covered[first : first + 60] = True
        assert covered.all()
        assert windows[0].start_s == 0.0
        assert windows[-1].end_s == max(steps / 2, 30.0)

    def test_holding(self) -> None:
        curve = random_curve(np.random.default_rng(1), 30)
        held = curve.held(50)
        assert np.array_equal(held.values[:30], curve.values)
        assert (held.values[30:] == curve.values[-1]).all()
        assert len(held.values) == 50
        assert np.array_equal(curve.held(10).values, curve.values)


class TestRefusals:
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("axis", ["arousal", "valence"])
    def test_not_finite(self, axis: str, bad: float) -> None:
        lists = {"arousal": [0.0] * 5, "valence": [0.0] * 5}
        lists[axis][3:] = [bad, bad]
        field, index, text = refusal(lists["arousal"], lists["valence"])
        assert (field, index) == (axis, 3)
        assert text.startswith(f"{axis}[3]: is {bad}")

    @pytest.mark.parametrize("scale", SCALES)
    @pytest.mark.parametrize("axis", ["arousal", "valence"])
    @given(
        index=st.integers(0, 9),
        beyond=st.floats(1e-9, 1e6),
        above=st.booleans(),
    )
    def test_outside_the_scale(
        self, axis: str, scale: Scale, index: int, beyond: float, above: bool
    ) -> None:
        low, high = RANGES[scale]
        bad = high + beyond if above else low - beyond
        middle = (low + high) / 2
        lists = {"arousal": [middle] * 10, "valence": [middle] * 10}
        lists[axis][index:] = [bad] * (10 - index)
        field, found, text = refusal(lists["arousal"], lists["valence"], scale=scale)
        assert (field, found) == (axis, index)
        assert f"[{low:g}, {high:g}] of scale '{scale}'" in text

    def test_the_ends_of_a_scale_are_inside(self) -> None:
        for scale, (low, high) in RANGES.items():
            curve = Curve.from_points([low, high], [high, low], scale=scale)
            assert curve.values.tolist() == [[1.0, -1.0], [-1.0, 1.0]]

    @pytest.mark.parametrize(("arousal", "valence"), [(3, 2), (2, 3), (1, 0), (0, 1)])
    def test_unequal(self, arousal: int, valence: int) -> None:
        field, _, text = refusal([0.0] * arousal, [0.0] * valence)
        assert field in {"arousal", "valence"}
        assert f"arousal has {arousal} points and valence {valence}" in text

    def test_no_points(self) -> None:
        field, _, text = refusal([], [])
        assert field in {"arousal", "valence"}
        assert "has 0 points: send 1 to 7,200" in text

    def test_the_longest(self) -> None:
        assert CURVE_MAX_POINTS == 7_200
        longest = [0.5] * 7_200
        assert Curve.from_points(longest, longest).duration_s == 3_600.0
        assert Curve.from_points(longest, longest, rate_hz=1_000).duration_s == 7.5
        field, _, text = refusal([0.5] * 7_201, [0.5] * 7_201, rate_hz=100.0)
        assert field in {"arousal", "valence"}
        assert "has 7201 points" in text

    @pytest.mark.parametrize("rate_hz", [0.0, -1.0, math.nan, math.inf, 1_001.0])
    def test_rates(self, rate_hz: float) -> None:
        field, index, text = refusal([0.0, 0.1], [0.0, 0.1], rate_hz=rate_hz)
        assert (field, index) == ("rate_hz", None)
        assert str(rate_hz) in text

    @pytest.mark.parametrize(("points", "rate_hz"), [(7_200, 1.999), (3_601, 1.0), (2, 1e-4)])
    def test_over_an_hour_at_a_rate(self, points: int, rate_hz: float) -> None:
        field, _, text = refusal([0.0] * points, [0.0] * points, rate_hz=rate_hz)
        assert field == "rate_hz"
        assert "at most an hour" in text

    def test_exactly_an_hour(self) -> None:
        curve = Curve.from_points([0.0, 1.0], [0.0, 1.0], times_s=[100.0, 3_699.5])
        assert curve.duration_s == 3_600.0
        assert Curve.from_points([0.0] * 3_600, [0.0] * 3_600, rate_hz=1.0).duration_s == 3_599.5

    @pytest.mark.parametrize("last_s", [3_600.0, 1e12, 1e308])
    def test_over_an_hour_of_times(self, last_s: float) -> None:
        times_s = [0.0, 3_599.5, last_s, 1.5 * last_s]
        field, index, text = refusal([0.0] * 4, [0.1] * 4, times_s=times_s)
        assert (field, index) == ("times_s", 2)
        assert "at most an hour" in text
        assert len(text) < 100

    def test_times_further_apart_than_floats_reach(self) -> None:
        field, _, text = refusal([0.0, 0.1], [0.0, 0.1], times_s=[-1.7e308, 1.7e308])
        assert field == "times_s"
        assert "lasts inf s" in text

    @pytest.mark.parametrize("times_s", [[], [0.0], [0.0, 1.0, 2.0]])
    def test_other_many_times(self, times_s: list[float]) -> None:
        field, _, text = refusal([0.0, 0.1], [0.0, 0.1], times_s=times_s)
        assert field == "times_s"
        assert f"has {len(times_s)} points and the curve 2" in text

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_times_not_finite(self, bad: float) -> None:
        field, index, _ = refusal([0.0] * 3, [0.0] * 3, times_s=[0.0, bad, bad])
        assert (field, index) == ("times_s", 1)

    @given(
        index=st.integers(1, 9),
        back_s=st.floats(0.0, 5.0),
    )
    def test_times_that_do_not_increase(self, index: int, back_s: float) -> None:
        times = [float(position) for position in range(10)]
        times[index:] = [times[index - 1] - back_s] * (10 - index)
        field, found, _ = refusal([0.0] * 10, [0.0] * 10, times_s=times)
        assert (field, found) == ("times_s", index)
