"""Requests. Inside, curves are signed and 2 Hz; here they are as callers write them.

Unknown fields, and text or booleans where numbers belong, are refused everywhere.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from models.curve import (
    CURVE_MAX_POINTS,
    CURVE_RATE_HZ,
    Curve,
    CurveError,
    Scale,
)
from models.moods import MOOD_ANGLES_DEG, mood_curves
from service.errors import FieldError, InvalidRequestError
from service.index.traits import TrackFilter

LARGEST_K = 100
_MOST_EXCLUDED = 10_000
_MOST_NAMES = 1_000
_LONGEST_LABEL = 200
_POINTS: JsonDict = {"minItems": 1, "maxItems": CURVE_MAX_POINTS}

Weight = Annotated[
    float,
    Field(ge=0, le=1, allow_inf_nan=False, description="λ; by default the model's"),
]
ResultCount = Annotated[int, Field(ge=1, le=LARGEST_K, description="How many results")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CurveIn(_Request):
    """Arousal and valence over time, at a rate or at given times; at most an hour."""

    arousal: list[float] = Field(json_schema_extra=_POINTS)
    valence: list[float] = Field(json_schema_extra=_POINTS)
    rate_hz: float | None = Field(
        None, description="Points a second; 2 where neither this nor times_s is given"
    )
    times_s: list[float] | None = Field(
        None, json_schema_extra=_POINTS, description="Strictly increasing, in place of rate_hz"
    )
    scale: Scale = "signed"

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        if self.rate_hz is not None and self.times_s is not None:
            raise ValueError("send rate_hz or times_s, not both")
        return self

    def to_curve(self, parent: str) -> Curve:
        """Return the checked curve.

        Raises:
            InvalidRequestError: names the field below ``parent`` and the first offending index.
        """
        try:
            return Curve.from_points(
                self.arousal,
                self.valence,
                rate_hz=CURVE_RATE_HZ if self.rate_hz is None else self.rate_hz,
                times_s=self.times_s,
                scale=self.scale,
            )
        except CurveError as error:
            raise InvalidRequestError.of_curve(error, parent) from error


class PointIn(_Request):
    """One point of the plane: a constant curve."""

    arousal: float
    valence: float
    scale: Scale = "signed"

    def to_curve(self, parent: str) -> Curve:
        """Return the constant curve.

        Raises:
            InvalidRequestError: names the coordinate that is not finite or outside the scale.
        """
        try:
            return Curve.constant(arousal=self.arousal, valence=self.valence, scale=self.scale)
        except CurveError as error:
            # A coordinate is no list: its index would say nothing.
            found = FieldError(f"{parent}.{error.field}", error.detail)
            raise InvalidRequestError([found], code="invalid_curve") from error


class FilterIn(_Request):
    """What a track must be to be found; what is left out says nothing.

    Names are compared without regard to case. A track whose tempo was not measured is outside
    every bound.
    """

    artists: list[str] = Field([], max_length=_MOST_NAMES, description="By one of these")
    tags: list[str] = Field([], max_length=_MOST_NAMES, description="Having all of these")
    bpm_min: float | None = Field(None, gt=0, allow_inf_nan=False, description="Beats a minute")
    bpm_max: float | None = Field(None, gt=0, allow_inf_nan=False, description="Beats a minute")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.bpm_min is not None and self.bpm_max is not None and self.bpm_min > self.bpm_max:
            raise ValueError("bpm_min is above bpm_max: exchange them")
        return self

    def to_filter(self) -> TrackFilter | None:
        """Return the filter, None where everything is let through."""
        wanted = TrackFilter(
            tuple(sorted(set(self.artists))),
            tuple(sorted(set(self.tags))),
            self.bpm_min,
            self.bpm_max,
        )
        return None if wanted == TrackFilter() else wanted


class SearchTracksIn(_Request):
    """What the music should feel like: exactly one of ``curve``, ``mood`` and ``point``."""

    curve: CurveIn | None = None
    mood: str | None = Field(None, description="One of the words of GET /v1/moods")
    point: PointIn | None = None
    k: ResultCount = 10
    weight: Weight | None = None
    filter: FilterIn | None = None
    exclude_tracks: list[str] = Field([], max_length=_MOST_EXCLUDED)
    max_per_artist: int | None = Field(
        None, ge=1, description="Tracks whose artist is not known are not limited"
    )
    exact: bool = Field(
        False, description="Search every track: no approximation, and slower where there are many"
    )

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        if sum(query is not None for query in (self.curve, self.mood, self.point)) != 1:
            raise ValueError("send exactly one of curve, mood and point")
        return self

    def to_curve(self) -> Curve:
        """Return the curve that is asked for.

        Raises:
            InvalidRequestError: the curve is invalid or the mood unknown.
        """
        if self.curve is not None:
            return self.curve.to_curve("curve")
        if self.point is not None:
            return self.point.to_curve("point")
        if self.mood not in MOOD_ANGLES_DEG:
            raise InvalidRequestError(
                [FieldError("mood", f"'{self.mood}' is no mood word: GET /v1/moods lists them")],
                code="unknown_mood",
            )
        return mood_curves(self.mood)["constant"]


class SearchSimilarIn(_Request):
    """A track of the catalogue, to which others should be similar."""

    track_id: str
    k: ResultCount = 10
    weight: Weight | None = None


def _printable(label: str) -> str:
    text = label.strip()
    if not text:
        raise ValueError("send a label that can be seen")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("send a label without control characters")
    return text


class EmotionIn(_Request):
    """An emotion to be found by recordings: a name and its course."""

    label: Annotated[str, Field(max_length=_LONGEST_LABEL), AfterValidator(_printable)]
    curve: CurveIn


class PageIn(BaseModel):
    """Which part of a list; the cursor is the ``next_cursor`` of the page before."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = Field(None, max_length=200)


class EmotionFieldsIn(BaseModel):
    """The fields beside the file of POST /v1/search/emotions; forms know nothing but text."""

    model_config = ConfigDict(extra="forbid")

    k: ResultCount = 10
    weight: Weight | None = None
