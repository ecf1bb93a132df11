"""How results are printed: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from training.pipeline import Figures


def print_json(value: object) -> None:
    """Write one JSON document to stdout."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write aligned columns; the first is aligned left, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def print_figures(figures: Figures) -> None:
    """Write a bundle's figures on held-out pieces, with chance beside them."""
    retrieval = figures["retrieval"]
    rows = [
        [name, f"{found['mrr']:.3f}", f"{found['ar']:.1f}", f"{found['recall_at_10']:.2f}"]
        for name, found in (
            ("music -> emotion", retrieval["m2e"]),
            ("emotion -> music", retrieval["e2m"]),
            ("chance", retrieval["chance"]),
        )
    ]
    sys.stdout.write(f"On {retrieval['items']} held-out pieces:\n")
    print_table(["", "MRR", "AR", "recall@10"], rows)
    axes = [
        [
            name,
            f"{error['rmse']:.3f}",
            f"{error['spearman']:.2f}",
            f"{100 * error['covered']:.0f} %",
        ]
        for name, error in (("arousal", figures["arousal"]), ("valence", figures["valence"]))
    ]
    print_table(["estimate", "RMSE", "Spearman of means", "within 1 sd"], axes)
