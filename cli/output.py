"""How results are printed: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # most commands train nothing, and need not wait for what does
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
    axes = [("arousal", figures["arousal"]), ("valence", figures["valence"])]
    print_table(
        ["each half second", "RMSE", "in 68 % band", "in 90 % band"],
        [
            [
                name,
                f"{error['rmse']:.3f}",
                _percent(error["covered"]),
                _percent(error["covered_90"]),
            ]
            for name, error in axes
        ],
    )
    print_table(
        ["mean of a piece", "RMSE", "R²", "CCC", "Spearman", "in 90 % band"],
        [
            [
                name,
                f"{error['rmse_of_means']:.3f}",
                f"{error['r2']:.2f}",
                f"{error['ccc']:.2f}",
                f"{error['spearman']:.2f}",
                _percent(error["means_covered_90"]),
            ]
            for name, error in axes
        ],
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
