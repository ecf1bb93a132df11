"""``/metrics``: how the service does, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from service.api.state import Live, Watching
from service.live import LiveService
from service.upkeep import Upkeep

router = APIRouter(tags=["operation"])

_TOOK_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

REQUESTS = CollectorRegistry()
"""What the middleware observes; one a process."""

REQUEST_SECONDS = Histogram(
    "circumplex_request_seconds",
    "Time from a request's arrival to the end of its answer",
    ("method", "path", "status"),
    buckets=_TOOK_S,
    registry=REQUESTS,
)


class _State(Collector):
    """The state of the service at the moment of being asked."""

    def __init__(self, live: LiveService, upkeep: Upkeep) -> None:
        self._live = live
        self._upkeep = upkeep

    def collect(self) -> Iterator[Metric]:
        searcher = self._live.searcher
        followed = searcher.followed
        for name, text, value in (
            ("windows", "Windows that are searched", followed.shelf.windows),
            ("new_windows", "Windows beside the index, searched exhaustively", followed.tail),
            ("gone_windows", "Windows of the index that are passed over", followed.dead),
            ("emotions", "Emotions that are searched", len(searcher.emotions.emotions)),
            ("hearing_processes", "Processes that hear uploads", self._live.listeners.ready),
            ("index_damaged", "1: a file of the index is damaged", self._live.damaged is not None),
        ):
            yield GaugeMetricFamily(f"circumplex_{name}", text, value=float(value))
        index = GaugeMetricFamily(
            "circumplex_index_info", "What is searched", labels=("index", "model")
        )
        index.add_metric((searcher.snapshot.id, searcher.bundle.id), 1)
        yield index
        recall = GaugeMetricFamily(
            "circumplex_index_recall_at_10",
            "Share of the true best 10 that answers hold: when built (worst group), and of late",
            labels=("measured",),
        )
        built = searcher.snapshot.measured.get("recall_at_10", {})
        if built:
            recall.add_metric(("build",), min(built.values()))
        if self._upkeep.recall is not None:
            recall.add_metric(("live",), self._upkeep.recall.recall)
        yield recall


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(live: Live, upkeep: Watching) -> Response:
    """Tell how the service does, for Prometheus."""
    state = CollectorRegistry()
    state.register(_State(live, upkeep))
    body = generate_latest(REQUESTS) + generate_latest(state)
    return Response(body, media_type=CONTENT_TYPE_LATEST)
