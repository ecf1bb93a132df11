"""What one, ten and a hundred million tracks take: arithmetic on what this machine measures.

Measured here, in this run: bytes a window, the time of a query at ``items`` windows on one core,
and the time of hearing a second of music. Assumed, and printed: three minutes a track, so eleven
windows; shards of ten million windows, each asked by every query; the growth of a query's time by
the root of the windows, as the cells visited grow; the price of a core's hour, a terabyte's month.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import encode, search
from bench.timing import Report, machine
from bench.towers import Material
from models.windows import window_starts_s

_TRACK_S = 180.0
_SHARD_WINDOWS = 10_000_000
_TRACKS = (1_000_000, 10_000_000, 100_000_000)
_NODE_CORES, _NODE_RAM_BYTES, _NODE_DISK_BYTES = 16, 128e9, 4e12
_QUERIES_BUSY = 0.5
_SERVING_QUERIES_PER_S = 100.0


@dataclass(frozen=True)
class Prices:
    """In one currency, as a cloud asks for them."""

    core_hour: float = 0.04
    terabyte_month: float = 80.0


def run(material: Material, *, items: int = 100_000, rounds: int = 3) -> Report:
    """Measure what the model needs, and compute it."""
    found = search.run(material, items=items, rounds=1, queries=8)
    heard = encode.run(rounds=rounds, threads=(1,))
    constants = {
        "items": items,
        "dimensions": material.dimensions,
        "index_bytes_a_window": found["index_bytes_per_item"],
        "encodings_bytes_a_window": found["encodings_bytes_per_item"],
        "query_p50_ms": found["p50_ms"],
        "hearing_core_s_a_second": _core_seconds(heard),
    }
    return {
        "machine": machine(),
        "measured": constants,
        "assumed": {
            "track_s": _TRACK_S,
            "windows_a_track": len(window_starts_s(_TRACK_S)),
            "shard_windows": _SHARD_WINDOWS,
            "node": f"{_NODE_CORES} cores, {_NODE_RAM_BYTES / 1e9:.0f} GB, "
            f"{_NODE_DISK_BYTES / 1e12:.0f} TB of NVMe",
            "queries_a_second": _SERVING_QUERIES_PER_S,
            **vars(Prices()),
        },
        "sizes": model(constants),
    }


def model(
    constants: Report, tracks: Sequence[int] = _TRACKS, prices: Prices | None = None
) -> list[Report]:
    """Compute machines, memory and cost from the constants that :func:`run` measured."""
    prices = prices or Prices()
    rows = []
    for count in tracks:
        windows = count * len(window_starts_s(_TRACK_S))
        shards = max(1, round(windows / _SHARD_WINDOWS))
        growth = np.sqrt(windows / shards / constants["items"])
        query_core_s = shards * constants["query_p50_ms"] / 1_000 * growth
        index_bytes = windows * constants["index_bytes_a_window"]
        disk_bytes = index_bytes + windows * constants["encodings_bytes_a_window"]
        cores = _SERVING_QUERIES_PER_S * query_core_s / _QUERIES_BUSY
        nodes = np.ceil(
            max(
                cores / _NODE_CORES,
                index_bytes / _NODE_RAM_BYTES / 4,  # a quarter of the vectors stay in the cache
                disk_bytes / _NODE_DISK_BYTES,
            )
        )
        ingest_core_hours = count * _TRACK_S * constants["hearing_core_s_a_second"] / 3_600
        rows.append(
            {
                "tracks": count,
                "windows": windows,
                "shards": shards,
                "index_gb": index_bytes / 1e9,
                "disk_gb": disk_bytes / 1e9,
                "ingest_core_hours": ingest_core_hours,
                "ingest_cost": ingest_core_hours * prices.core_hour,
                "query_core_ms": query_core_s * 1_000,
                "nodes_for_100_a_second": int(nodes),
                "cost_a_million_queries": 1e6
                * query_core_s
                / 3_600
                * prices.core_hour
                / _QUERIES_BUSY,
                "storage_cost_a_month": disk_bytes / 1e12 * prices.terabyte_month,
            }
        )
    return rows


def _core_seconds(heard: Report) -> float:
    """Seconds of one core that a second of music takes, by VGGish in single precision."""
    one_thread = heard["threads"]["1"]
    whole_ms: float = one_thread["float32"]["whole_ms"]
    return whole_ms / 1_000 / float(heard["duration_s"])
