"""Curves: arousal and valence over time, checked once at the edge and trusted afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.windows import WINDOW_S, window_starts_s

CURVE_RATE_HZ = 2.0
WINDOW_STEPS = int(WINDOW_S * CURVE_RATE_HZ)
CURVE_MAX_POINTS = 7_200
CURVE_MAX_DURATION_S = 3_600.0

Scale = Literal["signed", "unit", "sam9"]
SCALES: tuple[Scale, ...] = get_args(Scale)

_CENTRE_AND_HALF_WIDTH: dict[Scale, tuple[float, float]] = {
    "signed": (0.0, 1.0),
    "unit": (0.5, 0.5),
    "sam9": (5.0, 4.0),
}


class CurveError(ValueError):
    """A curve that cannot be used: ``field`` names what is wrong, ``index`` the first bad point."""

    def __init__(self, field: str, detail: str, index: int | None = None) -> None:
        self.field = field
        self.index = index
        self.detail = detail
        where = field if index is None else f"{field}[{index}]"
        super().__init__(f"{where}: {detail}")


def to_signed(values: ArrayLike, scale: Scale) -> NDArray[np.float64]:
    """Convert intensities written in ``scale`` to [-1, 1]."""
    centre, half_width = _CENTRE_AND_HALF_WIDTH[scale]
    return (np.asarray(values, dtype=np.float64) - centre) / half_width


def from_signed(values: ArrayLike, scale: Scale) -> NDArray[np.float64]:
    """Convert intensities in [-1, 1] to ``scale``; the inverse of :func:`to_signed` to 1e-12."""
    centre, half_width = _CENTRE_AND_HALF_WIDTH[scale]
    return np.asarray(values, dtype=np.float64) * half_width + centre


@dataclass(frozen=True, eq=False)
class Curve:
    """A valid curve: ``values`` (T, 2) float64 in [-1, 1] at 2 Hz, column 0 valence, 1 arousal.

    Each step stands for the half second that begins at its time, so T steps last T / 2 seconds.
    """

    values: NDArray[np.float64]

    @property
    def valence(self) -> NDArray[np.float64]:
        """Valence at 2 Hz, shape (T,)."""
        return self.values[:, 0]

    @property
    def arousal(self) -> NDArray[np.float64]:
        """Arousal at 2 Hz, shape (T,)."""
        return self.values[:, 1]

    @property
    def duration_s(self) -> float:
        """Seconds that the curve lasts."""
        return len(self.values) / CURVE_RATE_HZ

    @classmethod
    def constant(cls, *, arousal: float, valence: float, scale: Scale = "signed") -> Curve:
        """Return a one-window curve that rests at one point of the plane."""
        return cls.from_points([arousal], [valence], scale=scale).held(WINDOW_STEPS)

    @classmethod
    def from_points(
        cls,
        arousal: Sequence[float] | NDArray[np.float64],
        valence: Sequence[float] | NDArray[np.float64],
        *,
        rate_hz: float = CURVE_RATE_HZ,
        times_s: Sequence[float] | NDArray[np.float64] | None = None,
        scale: Scale = "signed",
    ) -> Curve:
        """Check a caller's points and bring them to 2 Hz and to [-1, 1].

        The points are ``1 / rate_hz`` seconds apart, or lie at ``times_s`` (strictly increasing;
        the first one is the curve's beginning). Between points the curve is linear.

        Raises:
            CurveError: a list is empty, over 7,200 points, of another length, not finite, outside
                ``scale``, over an hour, or its times do not increase.
        """
        signed = np.stack(
            [_checked_axis("valence", valence, scale), _checked_axis("arousal", arousal, scale)]
            if len(valence) == len(arousal)
            else _refuse_unequal(len(arousal), len(valence)),
            axis=1,
        )
        times = _checked_times(len(signed), rate_hz, times_s)
        steps = int(np.floor(times[-1] * CURVE_RATE_HZ + 1e-9)) + 1
        grid = np.arange(steps) / CURVE_RATE_HZ
        resampled = np.stack([np.interp(grid, times, signed[:, i]) for i in (0, 1)], axis=1)
        return cls(resampled)

    def held(self, steps: int) -> Curve:
        """Return the curve lengthened to at least ``steps`` by holding its last value."""
        missing = max(steps - len(self.values), 0)
        return Curve(np.pad(self.values, ((0, missing), (0, 0)), mode="edge"))

    def windows(self) -> list[CurveWindow]:
        """Cut the curve into windows of 60 steps; a short curve is held to one window."""
        held = self.held(WINDOW_STEPS)
        cut = []
        for start_s in window_starts_s(held.duration_s):
            first = round(start_s * CURVE_RATE_HZ)
            cut.append(CurveWindow(start_s, Curve(held.values[first : first + WINDOW_STEPS])))
        return cut


@dataclass(frozen=True, eq=False)
class CurveWindow:
    """One window of a curve: where it begins and its 60 steps."""

    start_s: float
    curve: Curve

    @property
    def end_s(self) -> float:
        """Where the window ends, in seconds from the curve's beginning."""
        return self.start_s + WINDOW_S


def _refuse_unequal(arousal_points: int, valence_points: int) -> list[NDArray[np.float64]]:
    raise CurveError(
        "valence",
        f"arousal has {arousal_points} points and valence {valence_points}: "
        "send as many of one as of the other",
    )


def _checked_axis(
    field: str, values: Sequence[float] | NDArray[np.float64], scale: Scale
) -> NDArray[np.float64]:
    points = np.asarray(values, dtype=np.float64)
    if not 1 <= len(points) <= CURVE_MAX_POINTS:
        raise CurveError(field, f"has {len(points)} points: send 1 to {CURVE_MAX_POINTS:,}")
    finite = np.isfinite(points)
    if not finite.all():
        index = int(np.argmin(finite))
        raise CurveError(field, f"is {points[index]}: send finite numbers", index)
    centre, half_width = _CENTRE_AND_HALF_WIDTH[scale]
    low, high = centre - half_width, centre + half_width
    inside = (points >= low) & (points <= high)
    if not inside.all():
        index = int(np.argmin(inside))
        raise CurveError(
            field,
            f"is {points[index]:g}, outside [{low:g}, {high:g}] of scale '{scale}': "
            "clip the value or name its scale",
            index,
        )
    return to_signed(points, scale)


def _checked_times(
    points: int, rate_hz: float, times_s: Sequence[float] | NDArray[np.float64] | None
) -> NDArray[np.float64]:
    if times_s is None:
        if not (np.isfinite(rate_hz) and 0 < rate_hz <= 1_000):
            raise CurveError("rate_hz", f"is {rate_hz}: send a rate in (0, 1000] Hz")
        times = np.arange(points) / rate_hz
        field = "rate_hz"
    else:
        times = np.asarray(times_s, dtype=np.float64)
        field = "times_s"
        if len(times) != points:
            raise CurveError(field, f"has {len(times)} points and the curve {points}")
        if not np.isfinite(times).all():
            index = int(np.argmin(np.isfinite(times)))
            raise CurveError(field, f"is {times[index]}: send finite numbers", index)
        increasing = times[1:] > times[:-1]
        if not increasing.all():
            index = int(np.argmin(increasing)) + 1
            raise CurveError(field, "does not increase: send strictly increasing times", index)
        with np.errstate(over="ignore"):  # an infinite duration is over an hour, too
            times = times - times[0]
    last_step_s = 1 / CURVE_RATE_HZ
    over = times > CURVE_MAX_DURATION_S - last_step_s + 1e-9
    if over.any():
        raise CurveError(
            field,
            f"the curve lasts {times[-1] + last_step_s:,.6g} s: send at most an hour",
            None if times_s is None else int(np.argmax(over)),
        )
    return times
