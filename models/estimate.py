"""What a recording's arousal and valence are, with their spread, from scored reference curves.

A bundle carries a frozen set of reference curves: windows of its training curves and their
encodings by the emotion tower. A music window scores every reference with the composite similarity;
the softmax of the scores weights the references' curves. Their weighted mean, through a line fitted
on validation pieces, is the estimate; their weighted spread, scaled so that it covers the errors
made on validation pieces, is its standard deviation. Nothing that is added to a catalogue changes
an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from models.curve import CURVE_RATE_HZ, WINDOW_STEPS, Curve
from models.moods import nearest_mood
from models.similarity import Encodings, composite_similarity

Floats64 = NDArray[np.float64]


@dataclass(frozen=True)
class EstimateCalibration:
    """What validation pieces fixed; pairs are (valence, arousal).

    ``weight`` (λ) and ``temperature`` sharpen the softmax over references; ``slope`` and
    ``intercept`` undo its pull to the middle; ``spread`` scales the references' weighted standard
    deviation to the errors seen, and ``floor`` is the least standard deviation given. ``overall``
    scales the mean of the steps' deviations to the errors of whole recordings, whose steps err
    neither independently nor as one.
    """

    weight: float
    temperature: float
    slope: tuple[float, float]
    intercept: tuple[float, float]
    spread: tuple[float, float]
    floor: tuple[float, float]
    overall: tuple[float, float] = (1.0, 1.0)

    def as_json(self) -> dict[str, object]:
        """Return a dictionary that :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, object]) -> EstimateCalibration:
        """Rebuild a calibration from a manifest."""
        pairs = ("slope", "intercept", "spread", "floor", "overall")
        return cls(**{k: tuple(v) if k in pairs else v for k, v in fields.items()})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Estimate:
    """Arousal and valence over a recording: ``curve`` (T, 2) and ``sd`` (T, 2), and their overall.

    ``overall`` and ``overall_sd`` are (valence, arousal) of the whole; all on the signed scale.
    """

    curve: Curve
    sd: Floats64
    overall: tuple[float, float]
    overall_sd: tuple[float, float]

    @property
    def mood(self) -> str:
        """The mood word nearest to the overall point."""
        return nearest_mood(valence=self.overall[0], arousal=self.overall[1])


class Estimator:
    """Reads arousal and valence off the scores of music windows against reference curves."""

    def __init__(
        self,
        references: Encodings,
        curves: Floats64,
        calibration: EstimateCalibration,
        divergence_scale: float,
    ) -> None:
        """Take R reference encodings and their ``curves`` (R, 60, 2)."""
        self.references = references
        self.curves = curves
        self.calibration = calibration
        self._divergence_scale = divergence_scale

    def estimate(
        self, windows: Encodings, starts_s: Sequence[float], duration_s: float
    ) -> Estimate:
        """Estimate a recording of ``duration_s`` from its windows' encodings.

        Where windows overlap, each counts more the nearer its middle is.
        """
        scores = composite_similarity(
            windows,
            self.references,
            weight=self.calibration.weight,
            divergence_scale=self._divergence_scale,
        )
        mean, spread = weighted_curves(scores / self.calibration.temperature, self.curves)
        values, sd = self._calibrated(mean, spread)
        curve, curve_sd = _join_windows(values, sd, starts_s, duration_s)
        valence, arousal = curve.mean(axis=0)
        valence_sd, arousal_sd = curve_sd.mean(axis=0) * self.calibration.overall
        return Estimate(
            Curve(curve),
            curve_sd,
            (float(valence), float(arousal)),
            (float(valence_sd), float(arousal_sd)),
        )

    def _calibrated(self, mean: Floats64, spread: Floats64) -> tuple[Floats64, Floats64]:
        fitted = self.calibration
        values = np.clip(mean * fitted.slope + fitted.intercept, -1.0, 1.0)
        return values, np.maximum(spread * fitted.spread, fitted.floor)


def weighted_curves(logits: Floats64, curves: Floats64) -> tuple[Floats64, Floats64]:
    """Average reference ``curves`` (R, 60, 2) by the softmax of ``logits`` (W, R).

    Returns the weighted mean and the weighted standard deviation, both (W, 60, 2).
    """
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    flat = curves.reshape(len(curves), -1)
    mean = shares @ flat
    variance = np.maximum(shares @ flat**2 - mean**2, 0.0)
    shape = (len(logits), *curves.shape[1:])
    return mean.reshape(shape), np.sqrt(variance).reshape(shape)


def _join_windows(
    values: Floats64, sd: Floats64, starts_s: Sequence[float], duration_s: float
) -> tuple[Floats64, Floats64]:
    """Lay windows (W, 60, 2) over the recording's 2 Hz grid; returns two (T, 2)."""
    steps = max(int(np.ceil(duration_s * CURVE_RATE_HZ - 1e-6)), 1)
    middle = (WINDOW_STEPS - 1) / 2
    nearness = (middle + 1 - np.abs(np.arange(WINDOW_STEPS) - middle))[:, None]
    total = np.zeros((steps, 1))
    value_sum, sd_sum = np.zeros((steps, 2)), np.zeros((steps, 2))
    for window, window_sd, start_s in zip(values, sd, starts_s, strict=True):
        first = round(start_s * CURVE_RATE_HZ)
        kept = min(WINDOW_STEPS, steps - first)
        here = slice(first, first + kept)
        total[here] += nearness[:kept]
        value_sum[here] += nearness[:kept] * window[:kept]
        sd_sum[here] += nearness[:kept] * window_sd[:kept]
    covered = total[:, 0] > 0
    last = int(np.flatnonzero(covered)[-1])  # rounding may leave the very last step uncovered
    filled = np.minimum(np.arange(steps), last)
    return (value_sum[filled] / total[filled], sd_sum[filled] / total[filled])
