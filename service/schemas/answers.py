"""Answers. Curves are written in the scale that the request used, signed where it used none."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, Field

from models.curve import CURVE_RATE_HZ, Curve, Scale, from_signed
from models.estimate import Estimate


class CurveOut(BaseModel):
    """A curve at 2 Hz in the scale of the request."""

    arousal: list[float]
    valence: list[float]
    rate_hz: float = CURVE_RATE_HZ
    scale: Scale = "signed"

    @classmethod
    def of(cls, curve: Curve, scale: Scale = "signed") -> CurveOut:
        """Write a curve in a scale."""
        # Interpolation may overshoot by a rounding, which a caller could not send back.
        values = from_signed(np.clip(curve.values, -1.0, 1.0), scale)
        return cls(arousal=values[:, 1].tolist(), valence=values[:, 0].tolist(), scale=scale)


class EstimatedCurveOut(CurveOut):
    """A curve read off a recording, with standard deviations beside it."""

    arousal_sd: list[float]
    valence_sd: list[float]

    @classmethod
    def of_estimate(cls, estimate: Estimate) -> EstimatedCurveOut:
        """Write an estimate on the signed scale."""
        return cls(
            **CurveOut.of(estimate.curve).model_dump(),
            arousal_sd=estimate.sd[:, 1].tolist(),
            valence_sd=estimate.sd[:, 0].tolist(),
        )


class TrackOut(BaseModel):
    """A recording of the catalogue."""

    id: str
    title: str
    artist: str | None
    album: str | None
    duration_s: float
    sample_rate_hz: int
    channels: int
    format: str
    bpm: float | None = Field(description="Tempo; null where it was not measured or has none")
    tags: list[str]
    audio_url: str
    curve_url: str


class EmotionOut(BaseModel):
    """A named curve; ``source`` is ``mood``, ``corpus`` or ``user``."""

    id: str
    label: str
    mood: str
    source: str
    curve: CurveOut


class SpanOut(BaseModel):
    """A stretch of a recording or of a curve."""

    start_s: float
    end_s: float


class _Result(BaseModel):
    rank: int = Field(ge=1)
    query_window: SpanOut
    score: float = Field(description="Composite similarity: higher is closer")
    correlation: float = Field(description="ρ of the embeddings")
    kl_divergence: float = Field(description="KL(query ‖ item), before any scaling")
    similarity: float = Field(ge=0, le=1, description="The score, calibrated")


class TrackResult(_Result):
    """A found track and its best window."""

    track: TrackOut
    window: SpanOut


class EmotionResult(_Result):
    """A found emotion and its best window."""

    emotion: EmotionOut
    window: SpanOut


class _Answer(BaseModel):
    model: str = Field(description="The id of the model that scored")
    index: str = Field(description="The id of the search index")
    weight: float = Field(description="λ")
    divergence_scale: float = Field(description="s")
    took_ms: float


class TracksAnswer(_Answer):
    """Ranked tracks."""

    results: list[TrackResult]


class AudioOut(BaseModel):
    """What was heard."""

    duration_s: float
    sample_rate_hz: int
    channels: int
    format: str


class EstimateOut(BaseModel):
    """Arousal and valence of the whole recording, signed, with standard deviations."""

    arousal: float
    valence: float
    arousal_sd: float
    valence_sd: float
    mood: str

    @classmethod
    def of(cls, estimate: Estimate) -> EstimateOut:
        """Write an estimate's overall point."""
        valence, arousal = estimate.overall
        valence_sd, arousal_sd = estimate.overall_sd
        return cls(
            arousal=arousal,
            valence=valence,
            arousal_sd=arousal_sd,
            valence_sd=valence_sd,
            mood=estimate.mood,
        )


class EmotionsAnswer(_Answer):
    """Ranked emotions of an uploaded recording, and its estimated course."""

    audio: AudioOut
    estimate: EstimateOut
    timeline: EstimatedCurveOut
    results: list[EmotionResult]


class MoodOut(BaseModel):
    """A mood word and its place on the circumplex."""

    word: str
    valence: float
    arousal: float


class MoodsOut(BaseModel):
    """Every mood word."""

    items: list[MoodOut]


class TrackPage(BaseModel):
    """A part of the tracks; ``next_cursor`` is null on the last one."""

    items: list[TrackOut]
    next_cursor: str | None
    total: int


class EmotionPage(BaseModel):
    """A part of the emotions; ``next_cursor`` is null on the last one."""

    items: list[EmotionOut]
    next_cursor: str | None
    total: int


class ModelOut(BaseModel):
    """A registered bundle, as its manifest describes it."""

    id: str
    name: str
    active: bool
    recipe: str
    corpus: str
    seed: int
    frontend: dict[str, str | int | float] | None
    dimensions: int
    weight: float
    margin: float
    divergence_scale: float
    split: dict[str, int]
    metrics: dict[str, object]


class ModelsOut(BaseModel):
    """Every registered bundle."""

    items: list[ModelOut]


class StatusOut(BaseModel):
    """That the service lives."""

    status: str


class ReadyOut(StatusOut):
    """That the service answers searches, and from what."""

    model: str
    index: str
    tracks: int
    emotions: int


class ProblemFieldOut(BaseModel):
    """What is wrong with one field."""

    field: str
    index: int | None
    message: str


class ProblemOut(BaseModel):
    """Every error: RFC 9457 with a stable ``code``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ProblemFieldOut] | None = None
