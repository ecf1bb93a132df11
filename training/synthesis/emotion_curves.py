"""Random arousal–valence curves: drifts, ramps, jumps, plateaus and mixtures of them.

The two axes are drawn independently and each is spread evenly over [-1, 1], so that the curves
cover the whole plane (Russell 1980) and no quadrant or shape is the rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr

RATE_HZ = 2.0

Axis = NDArray[np.float64]

_MOST_LEANING = 1.3


def draw_curve(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """Draw one curve at 2 Hz: shape (steps, 2), column 0 valence, column 1 arousal, in [-1, 1]."""
    valence_rng, arousal_rng = rng.spawn(2)
    return np.stack([_draw_axis(valence_rng, steps), _draw_axis(arousal_rng, steps)], axis=1)


def _draw_axis(rng: np.random.Generator, steps: int) -> Axis:
    kinds = (_drift, _ramps, _jumps, _plateaus)
    first, second = rng.choice(len(kinds), size=2, replace=False)
    form = rng.choice(["pure", "blend", "succession"], p=[0.6, 0.2, 0.2])
    axis = kinds[first](rng, steps)
    if form == "blend":
        share = rng.uniform(0.55, 0.8)
        axis = share * axis + (1 - share) * kinds[second](rng, steps)
    elif form == "succession":
        turn = steps * rng.uniform(0.35, 0.65)
        arrived = 1 / (1 + np.exp(-(np.arange(steps) - turn) / rng.uniform(0.3, 2.0)))
        axis = (1 - arrived) * axis + arrived * kinds[second](rng, steps)
    # A piece dwells more at one end than at the other; without a leaning all would average 0.
    leaning = 2 ** rng.uniform(-_MOST_LEANING, _MOST_LEANING)
    return np.asarray(2 * ((np.clip(axis, -1, 1) + 1) / 2) ** leaning - 1, dtype=np.float64)


def _drift(rng: np.random.Generator, steps: int) -> Axis:
    # A smoothed Gaussian walk, mapped through its own distribution function: uniform at all times.
    smoothness = rng.uniform(7.0, 14.0)
    margin = int(4 * smoothness)
    walk = gaussian_filter1d(rng.standard_normal(steps + 2 * margin), smoothness)
    unit = walk[margin:-margin] * np.sqrt(2 * np.sqrt(np.pi) * smoothness)
    return np.asarray(2 * ndtr(unit) - 1, dtype=np.float64)


def _ramps(rng: np.random.Generator, steps: int) -> Axis:
    corners = int(rng.integers(3, 7))
    return np.interp(
        np.arange(steps), _cuts(rng, steps, corners), _levels(rng, corners, extremes=0.6)
    )


def _jumps(rng: np.random.Generator, steps: int) -> Axis:
    stretches = int(rng.integers(3, 6))
    bounds = _cuts(rng, steps, stretches + 1)
    tilt = rng.uniform(-0.35, 0.35, size=stretches)
    levels = _levels(rng, stretches, extremes=0.8)
    which = np.clip(np.searchsorted(bounds, np.arange(steps), side="right") - 1, 0, stretches - 1)
    through = (np.arange(steps) - bounds[which]) / (bounds[which + 1] - bounds[which])
    return np.clip(levels[which] + tilt[which] * (through - 0.5), -1, 1)


def _plateaus(rng: np.random.Generator, steps: int) -> Axis:
    stretches = int(rng.integers(3, 7))
    bounds = _cuts(rng, steps, stretches + 1)
    levels = _levels(rng, stretches, extremes=0.9)
    which = np.clip(np.searchsorted(bounds, np.arange(steps), side="right") - 1, 0, stretches - 1)
    return np.asarray(
        gaussian_filter1d(levels[which], rng.uniform(1.5, 4.0), mode="nearest"), dtype=np.float64
    )


def _cuts(rng: np.random.Generator, steps: int, points: int) -> Axis:
    """Times from the first step to the last, unevenly spaced but never crowded."""
    gaps = rng.uniform(0.6, 1.6, size=points - 1)
    return (steps - 1) * np.concatenate([[0.0], np.cumsum(gaps) / gaps.sum()])


def _levels(rng: np.random.Generator, count: int, *, extremes: float) -> Axis:
    """Levels in [-1, 1], neighbours well apart; ``extremes`` below 1 favours the ends."""
    levels = [2 * rng.beta(extremes, extremes) - 1]
    while len(levels) < count:
        level = 2 * rng.beta(extremes, extremes) - 1
        if abs(level - levels[-1]) >= 0.4:
            levels.append(level)
    return np.array(levels)
