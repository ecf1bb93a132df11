"""``circumplex ingest``, ``search``, ``index`` and ``serve``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from cli.failure import InputError
from cli.output import print_json, print_table
from models.bundle import load_bundle
from models.curve import Curve
from models.moods import MOOD_ANGLES_DEG, mood_curves
from service import catalogue
from service.api.problems import invalid_request
from service.api.rendering import emotions_answer, tracks_answer
from service.offline import search_emotions_offline, search_tracks_offline
from service.schemas.requests import CurveIn
from service.server import serve as serve_http
from service.settings import Settings


def ingest(options: argparse.Namespace) -> None:
    """Take recordings into the catalogue."""
    if options.bundle is not None and load_bundle(options.bundle).frontend is None:
        raise InputError(
            f"{options.bundle} was trained on precomputed features and cannot hear recordings: "
            "train one with --frontend"
        )
    address = options.ray_address or ("local" if options.ray else None)
    report = catalogue.ingest(Settings(), options.paths, bundle=options.bundle, ray_address=address)
    for path, reason in report.failed:
        sys.stderr.write(f"not used: {path}: {reason}\n")
    speed = {
        "tracks_per_s": report.tracks_per_s,
        "times_real_time": report.times_real_time,
        "cores_busy": report.cores_busy,
    }
    if options.json:
        failed = [{"path": str(path), "reason": reason} for path, reason in report.failed]
        print_json({**asdict(report), **speed, "failed": failed})
    else:
        print(
            f"Added {report.added} tracks ({report.windows} windows), {report.skipped} known "
            f"already, {len(report.failed)} files not used"
        )
        print(
            f"{report.heard} heard in {report.wall_s:.1f} s: {report.tracks_per_s:.3g} tracks/s, "
            f"{report.times_real_time:.0f} x real time"
        )
    if report.failed and not report.added + report.skipped:
        raise InputError("none of the files could be used")


def search_tracks(options: argparse.Namespace) -> None:
    """Rank tracks for a curve or a mood."""
    curve = _curve(options.curve) if options.mood is None else _mood_curve(options.mood)
    found = search_tracks_offline(Settings(), curve, k=options.k)
    answer = tracks_answer(found)
    if options.json:
        print_json(answer.model_dump(mode="json"))
        return
    rows = [
        [
            f"{result.rank}",
            f"{100 * result.similarity:.0f} %",
            f"{result.score:+.3f}",
            f"{result.window.start_s:.0f}-{result.window.end_s:.0f} s",
            " - ".join(part for part in (result.track.artist, result.track.title) if part),
        ]
        for result in answer.results
    ]
    _print_ranked(["", "similarity", "score", "window", "track"], rows)


def search_emotions(options: argparse.Namespace) -> None:
    """Rank emotions for a recording and estimate its arousal and valence."""
    found = search_emotions_offline(Settings(), options.file, k=options.k)
    answer = emotions_answer(found)
    if options.json:
        print_json(answer.model_dump(mode="json"))
        return
    estimate = answer.estimate
    print(
        f"{estimate.mood}: arousal {estimate.arousal:+.2f} (sd {estimate.arousal_sd:.2f}), "
        f"valence {estimate.valence:+.2f} (sd {estimate.valence_sd:.2f})"
    )
    rows = [
        [
            f"{result.rank}",
            f"{100 * result.similarity:.0f} %",
            f"{result.score:+.3f}",
            f"{result.emotion.mood}: {result.emotion.label}",
        ]
        for result in answer.results
    ]
    _print_ranked(["", "similarity", "score", "emotion"], rows)


def index_build(options: argparse.Namespace) -> None:
    """Build the search index from the database."""
    report = catalogue.build_index(Settings())
    if options.json:
        print_json(asdict(report))
        return
    print(f"Index {report.id} holds {report.windows} windows of {report.tracks} tracks")
    if report.tracks_not_encoded:
        print(
            f"{report.tracks_not_encoded} tracks are not encoded by the active bundle: "
            "ingest their files again"
        )


def index_fill(options: argparse.Namespace) -> None:
    """Bring the present search index into Milvus."""
    report = catalogue.fill_index(Settings())
    if options.json:
        print_json(asdict(report))
        return
    print(f"Index {report.id} is in Milvus: {report.windows} windows of {report.tracks} tracks")


def index_verify(options: argparse.Namespace) -> None:
    """Compare the index with the database, and its answers with an exhaustive search."""
    report = catalogue.verify_index(Settings())
    if options.json:
        print_json(asdict(report))
    else:
        print(
            f"Index {report.id}: {report.windows} windows of {report.tracks} tracks as in the "
            f"database; recall@10 {report.recall:.4f} over {report.queries} queries"
        )


def serve(options: argparse.Namespace) -> None:
    """Serve the page and the API until interrupted."""
    serve_http(Settings(), options.host, options.port)


def _curve(path: Path) -> Curve:
    try:
        fields = CurveIn.model_validate(json.loads(path.read_text()))
    except ValidationError as error:
        raise InputError(f"{path} is no curve: {invalid_request(error.errors())}") from error
    except ValueError as error:
        raise InputError(f"{path} is no curve: {error}") from error
    return fields.to_curve("curve")


def _mood_curve(word: str) -> Curve:
    if word not in MOOD_ANGLES_DEG:
        raise InputError(f"'{word}' is no mood word: use one of {', '.join(MOOD_ANGLES_DEG)}")
    return mood_curves(word)["constant"]


def _print_ranked(header: list[str], rows: list[list[str]]) -> None:
    """Print a table whose last column is text."""
    texts = [header[-1], *(row[-1] for row in rows)]
    width = max(map(len, texts))
    print_table(
        [*header[:-1], header[-1].ljust(width)], [[*row[:-1], row[-1].ljust(width)] for row in rows]
    )
