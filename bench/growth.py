"""How the search grows from ten thousand items on, beside its peers, in one run, as pictures.

Each engine is measured up to the size that fits into the free memory, or that it would finish
within the budget (ten minutes), judged by the size before; beyond that there is no figure. What is
known is written down after each size, as figures and as pictures; a run that was broken off goes on
there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench import peers, search
from bench.search import exhaustively
from bench.timing import Report, machine
from bench.towers import Material, write_encodings
from models.similarity import Encodings
from service.index import building
from service.index.segment import open_segment

SIZES = (10_000, 31_623, 100_000, 316_228, 1_000_000, 10_000_000)
BUDGET_S = 600.0
_QUERIES = 24
_COPIES = 4  # of φ in single precision, while a peer is built: encodings, φ, the peer's, some room
_FINDS = 0.95
_PICTURES = {
    "p50_ms": "one query, median (ms)",
    "recall_at_10": "recall@10 at λ = 0.5 (ours: the worst of all λ)",
    "build_s": "building (s)",
    "ready_s": "start until the first answer (s), ours",
    "anonymous_bytes": "anonymous memory of a process that answers (bytes), ours",
}


def run(
    material: Material,
    *,
    largest: int,
    out: Path,
    budget_s: float = BUDGET_S,
    sizes: Sequence[int] = SIZES,
    everything: Path | None = None,
) -> Report:
    """Measure every engine at every size up to ``largest``; figures and pictures go to ``out``.

    ``everything`` is a file of at least ``largest`` encodings; without it they are written first.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = out / "growth.json"
    report: Report = json.loads(written.read_text()) if written.is_file() else {}
    if report.get("dimensions") != material.dimensions:
        report = {}
    rows: list[Report] = report.get("rows", [])
    details: list[Report] = report.get("own", [])
    with TemporaryDirectory(prefix="bench-growth-") as folder:
        encodings = everything or Path(folder) / building.ENCODINGS_FILE
        if everything is None:
            write_encodings(material, encodings, largest)
        for size in (each for each in sizes if each <= largest):
            if any(own["items"] == size for own in details):
                continue
            with TemporaryDirectory(prefix="bench-growth-") as work:
                own, peers_rows = _measure(
                    material, encodings, Path(work), size, budget_s, _expected_s(rows, size)
                )
            details.append({name: each for name, each in own.items() if name != "groups"})
            rows += [
                _own("sketch", own, own["p50_ms"], own["recall_at_10"]),
                _own("sketch, exact mode", own, own["exact_ms"], own["exact_recall_at_10"]),
                *peers_rows,
            ]
            rows.sort(key=lambda row: row["items"])
            details.sort(key=lambda own: own["items"])
            report = {
                "machine": machine(),
                "dimensions": material.dimensions,
                "rows": rows,
                "own": details,
            }
            written.write_text(json.dumps(report, indent=1) + "\n")
            _draw(rows, out)
    return report


def _expected_s(rows: Sequence[Report], size: int) -> dict[str, float]:
    """Return what each engine would take if it grew as the items do from the size before."""
    smaller = [row for row in rows if row["items"] < size]
    return {row["engine"]: row["took_s"] * size / row["items"] for row in smaller}


def _measure(
    material: Material,
    encodings: Path,
    work: Path,
    size: int,
    budget_s: float,
    known_s: Mapping[str, float],
) -> tuple[Report, list[Report]]:
    """Measure our own engine, and the peers that fit, over the first ``size`` encodings."""
    known = np.load(encodings, mmap_mode="r")
    if size == len(known):
        (work / building.ENCODINGS_FILE).symlink_to(encodings.resolve())
    else:
        np.save(work / building.ENCODINGS_FILE, known[:size])
    own = search.run(material, items=size, queries=_QUERIES, rounds=2, folder=work)
    if _COPIES * 4 * size * (3 * material.dimensions + 1) > _free_bytes():
        return own, []
    return own, list(peers.measure(_task(material, work), budget_s, known_s))


def _own(name: str, report: Report, p50_ms: float, recall: float) -> Report:
    return {
        "engine": name,
        "items": report["items"],
        "build_s": report["build_s"],
        "p50_ms": p50_ms,
        "recall_at_10": recall,
        "took_s": report["build_s"],
        "ready_s": report["ready_s"],
        "anonymous_bytes": report["anonymous_bytes"],
    }


def _task(material: Material, folder: Path) -> peers.Task:
    items = Encodings.of_block(np.load(folder / building.ENCODINGS_FILE))
    query = material.queries(_QUERIES, seed=77)["curves"]
    segment = open_segment(folder, {}, "cpu")
    truth = exhaustively(segment, query, material.divergence_scale, (peers.WEIGHT,))
    return peers.Task(items, query, material.divergence_scale, truth[peers.WEIGHT])


def _free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1_024
    raise ValueError("/proc/meminfo has no MemAvailable")


def _draw(rows: Sequence[Report], out: Path) -> None:
    """Draw one picture a quantity: an engine a line, over the number of items."""
    from matplotlib.figure import Figure

    engines = list(dict.fromkeys(row["engine"] for row in rows))
    for quantity, label in _PICTURES.items():
        figure = Figure(figsize=(8, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for engine in engines:
            known = [row for row in rows if row["engine"] == engine and quantity in row]
            if not known:
                continue
            own = engine.startswith("sketch")
            (line,) = axes.plot(
                [row["items"] for row in known],
                [row[quantity] for row in known],
                linewidth=2.2 if own else 1.2,
                label=engine,
            )
            for row in known:
                finds = row["recall_at_10"] >= _FINDS
                axes.plot(
                    row["items"],
                    row[quantity],
                    "o",
                    markersize=5,
                    color=line.get_color(),
                    markerfacecolor=line.get_color() if finds else "white",
                )
        axes.set_xscale("log")
        if quantity != "recall_at_10":
            axes.set_yscale("log")
        axes.set_xlabel(f"items (windows); hollow where recall@10 is below {_FINDS:g}")
        axes.set_ylabel(label)
        axes.grid(visible=True, which="major", alpha=0.3)
        figure.legend(fontsize=8, frameon=False, loc="outside right upper")
        figure.savefig(out / f"growth-{quantity.replace('_', '-')}.png", dpi=130)
