"""E2M: what one curve costs, in the process and over HTTP, against the definition computed plainly.

``definition`` scores every window by the formula in float64, with numpy; ``python`` is the same
formula as two nested loops, on a part of the catalogue. An empty request to the same server
(``/livez``) is what HTTP itself costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.material import DEMO_TRACKS, home_settings, wandering_curve
from bench.server import running_server
from bench.timing import DisagreementError, Report, machine, medians_ms, require_close
from models.curve import Curve
from models.similarity import Encodings, composite_similarity
from service.live import LiveService
from service.retrieval import Limits, Searcher
from training.evaluation import best_of_windows

_K = 10
_CURVE_STEPS = 90
_SCORE_TOLERANCE = 1e-9

Ranking = list[tuple[str, float]]
"""Track ids and scores, best first."""


def run(
    home: Path | None = None,
    *,
    curves: int = 8,
    loop_windows: int = 32,
    rounds: int = 7,
    tracks: int = DEMO_TRACKS,
) -> Report:
    """Time ``POST /v1/search/tracks`` where all ways give the same answers.

    Raises:
        bench.timing.DisagreementError: they do not.
    """
    rng = np.random.default_rng(2)
    asked = [wandering_curve(rng, _CURVE_STEPS) for _ in range(curves)]
    with home_settings(home, tracks=tracks) as settings:
        with closing(LiveService(settings)) as live:
            searcher = live.searcher
        encoded = [_encode(searcher, curve) for curve in asked]
        part = np.arange(min(loop_windows, searcher.tracks.windows))
        with (
            running_server(settings) as server,
            httpx.Client(base_url=server.address, timeout=60) as client,
        ):
            client.get("/livez").raise_for_status()
            _check_answers(searcher, client, asked, part)
            times = medians_ms(
                {
                    "encode": lambda: [_encode(searcher, curve) for curve in asked],
                    "retrieval": lambda: [_retrieval(searcher, curve) for curve in asked],
                    "definition": lambda: [_definition(searcher, curve) for curve in asked],
                    "ranking": lambda: [_rank_plainly(searcher, query) for query in encoded],
                    "http": lambda: [_over_http(client, curve) for curve in asked],
                    "livez": lambda: [client.get("/livez") for _ in asked],
                    "python": lambda: _python_scores(searcher, asked[0], part),
                },
                rounds,
            )
    shelf = searcher.tracks
    windows = len(asked[0].windows())
    per_query = {name: value / curves for name, value in times.items() if name != "python"}
    definition_pair_us = per_query["ranking"] * 1_000 / (windows * shelf.windows)
    python_pair_us = times["python"] * 1_000 / (windows * len(part))
    return {
        "machine": machine(),
        "tracks": shelf.owner_count,
        "windows": shelf.windows,
        "dimensions": shelf.dimensions,
        "query_windows": windows,
        "encode_ms": per_query["encode"],
        "retrieval_ms": per_query["retrieval"],
        "definition_ms": per_query["definition"],
        "http_ms": per_query["http"],
        "livez_ms": per_query["livez"],
        "definition_us_per_pair": definition_pair_us,
        "python_us_per_pair": python_pair_us,
        "definition_over_retrieval": per_query["definition"] / per_query["retrieval"],
        "http_over_retrieval": per_query["http"] / per_query["retrieval"],
        "http_over_livez": per_query["http"] / per_query["livez"],
        "python_over_definition_per_pair": python_pair_us / definition_pair_us,
    }


def _check_answers(
    searcher: Searcher, client: httpx.Client, asked: Sequence[Curve], part: np.ndarray[Any, Any]
) -> None:
    for curve in asked:
        expected = _definition(searcher, curve)
        _require_same("retrieval", _retrieval(searcher, curve), expected)
        _require_same("HTTP", _over_http(client, curve), expected)
    query, items = _encode(searcher, asked[0]), searcher.tracks.take(part)
    plain = _python_scores(searcher, asked[0], part)
    manifest = searcher.bundle.manifest
    formula = composite_similarity(
        query, items, weight=manifest.weight, divergence_scale=manifest.divergence_scale
    )
    require_close("Python's scores", plain, formula, _SCORE_TOLERANCE * np.abs(formula).max())


def _require_same(what: str, found: Ranking, expected: Ranking) -> None:
    if [track for track, _ in found] != [track for track, _ in expected]:
        raise DisagreementError(f"{what} gives another order than the definition")
    scores = [[score for _, score in ranking] for ranking in (found, expected)]
    largest = float(np.abs(scores[1]).max())
    require_close(f"scores of {what}", scores[0], scores[1], _SCORE_TOLERANCE * largest)


def _encode(searcher: Searcher, curve: Curve) -> Encodings:
    return searcher.bundle.encode_curve_windows(curve.windows())


def _retrieval(searcher: Searcher, curve: Curve) -> Ranking:
    answer = searcher.search_tracks(curve, Limits(_K))
    return [(match.id, match.score) for match in answer.matches]


def _definition(searcher: Searcher, curve: Curve) -> Ranking:
    """Encode the curve, score every window in float64 and sort all tracks."""
    return _rank_plainly(searcher, _encode(searcher, curve))


def _rank_plainly(searcher: Searcher, query: Encodings) -> Ranking:
    manifest, shelf = searcher.bundle.manifest, searcher.tracks
    rows = np.arange(shelf.windows)
    scores = composite_similarity(
        query,
        shelf.take(rows),
        weight=manifest.weight,
        divergence_scale=manifest.divergence_scale,
    )
    one_query = np.zeros(len(query), np.int64)
    best = best_of_windows(scores, one_query, shelf.owners_of(rows))[0]
    order = sorted(range(len(best)), key=lambda place: (-best[place], place))
    return [(shelf.owner_id(place), float(best[place])) for place in order[:_K]]


def _over_http(client: httpx.Client, curve: Curve) -> Ranking:
    body = {"curve": {"arousal": curve.arousal.tolist(), "valence": curve.valence.tolist()}}
    reply = client.post("/v1/search/tracks", json={**body, "k": _K})
    reply.raise_for_status()
    return [(result["track"]["id"], result["score"]) for result in reply.json()["results"]]


def _python_scores(
    searcher: Searcher, curve: Curve, part: np.ndarray[Any, Any]
) -> list[list[float]]:
    """Score a part of the catalogue with loops over windows and dimensions."""
    manifest = searcher.bundle.manifest
    queries = _as_lists(_encode(searcher, curve))
    items = _as_lists(searcher.tracks.take(part))
    divergence_weight = (1 - manifest.weight) * manifest.divergence_scale
    return [
        [
            manifest.weight * _pearson(query[0], item[0])
            - divergence_weight * _divergence(query[1], query[2], item[1], item[2])
            for item in items
        ]
        for query in queries
    ]


def _as_lists(encodings: Encodings) -> list[tuple[list[float], list[float], list[float]]]:
    rows = zip(encodings.embedding, encodings.mean, encodings.variance, strict=True)
    return [(e.tolist(), m.tolist(), v.tolist()) for e, m, v in rows]


def _pearson(first: list[float], second: list[float]) -> float:
    mean_first, mean_second = sum(first) / len(first), sum(second) / len(second)
    product = square_first = square_second = 0.0
    for x, y in zip(first, second, strict=True):
        product += (x - mean_first) * (y - mean_second)
        square_first += (x - mean_first) ** 2
        square_second += (y - mean_second) ** 2
    return product / math.sqrt(square_first * square_second)


def _divergence(
    query_mean: list[float], query_variance: list[float], mean: list[float], variance: list[float]
) -> float:
    total = 0.0
    for m, v, n, w in zip(query_mean, query_variance, mean, variance, strict=True):
        total += math.log(w / v) + (v + (m - n) ** 2) / w - 1
    return total / 2
