"""The arguments of ``circumplex train``, ``evaluate`` and ``reproduce``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.arguments import JSON_HELP, Commands, add_command, natural, run_count, worker_count

_CORPUS_HELP = (
    "deam or pmemo in their official layouts; synthetic; or folder: curves.csv with audio/<id>.* "
    "beside it"
)


def add_train(commands: Commands) -> None:
    """Add ``train``."""
    train = add_command(
        commands,
        "train",
        "train:train",
        "train a model on a corpus and write a bundle",
        "Reads curves and recordings (or --features), writes the bundle, prints MRR, AR and "
        "recall@10 on the held-out part beside chance. An interrupted training goes on where it "
        "stopped.",
    )
    _add_corpus(train)
    train.add_argument(
        "--frontend",
        metavar="vggish|logmel|opensmile|PATH.onnx",
        help="how recordings are heard (default: logmel; with --features: none, "
        "unless named, and the bundle then cannot hear recordings). opensmile takes its columns "
        "out of --features by their names, and needs the extra of that name",
    )
    train.add_argument(
        "--weights", type=Path, help="vggish-10086976.pth, where it cannot be downloaded"
    )
    train.add_argument(
        "--precision",
        choices=("float32", "int16"),
        default="float32",
        help="of vggish; int16 hears faster and a little differently (default: float32)",
    )
    train.add_argument(
        "--encoder",
        choices=("mlp", "bigru", "attention"),
        help="the music tower's encoder (default: bigru, or mlp where --features has one vector "
        "a song)",
    )
    train.add_argument(
        "--pretrain",
        type=Path,
        metavar="PATH",
        help="let the encoder learn from music without curves first: a folder of recordings, or an "
        "NPZ of id → (T, F)",
    )
    train.add_argument(
        "--recipe",
        choices=("circumplex", "cmer-cl"),
        default="circumplex",
        help="layers, loss and schedule (default: circumplex; cmer-cl is the paper's)",
    )
    train.add_argument("--seed", type=natural, default=0, help="split and weights (default: 0)")
    train.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")


def add_evaluate(commands: Commands) -> None:
    """Add ``evaluate``."""
    evaluate = add_command(
        commands,
        "evaluate",
        "train:evaluate",
        "report a bundle's figures on the held-out part of its corpus",
        "Prints MRR, AR and recall@10 in both directions beside chance, and the errors of the "
        "estimated arousal and valence.",
    )
    evaluate.add_argument("bundle", type=Path, help="folder of the bundle")
    _add_corpus(evaluate)


def add_reproduce(commands: Commands) -> None:
    """Add ``reproduce``."""
    reproduce = add_command(
        commands,
        "reproduce",
        "reproduce:reproduce",
        "reproduce the paper's tables and figures on a corpus",
        "Reads the corpus and its recordings (or --features), trains every system of the paper "
        "and our recipe once a seed, and writes tables.md, tables.json, figures/, config.json and "
        "records/. Run again after a break, it goes on where it stopped. Prints MRR and AR of "
        "every system.",
    )
    reproduce.add_argument("corpus", choices=("deam", "pmemo"), help="in its official layout")
    reproduce.add_argument("--root", type=Path, required=True, help="the corpus' folder")
    reproduce.add_argument("--features", type=Path, help="precomputed music features, as for train")
    reproduce.add_argument(
        "--frontend",
        default="vggish",
        metavar="vggish|logmel|opensmile|PATH.onnx",
        help="how recordings are heard where there are no --features (default: vggish, the "
        "paper's)",
    )
    reproduce.add_argument(
        "--weights", type=Path, help="vggish-10086976.pth, where it cannot be downloaded"
    )
    reproduce.add_argument(
        "--recipe", choices=("circumplex", "cmer-cl"), help="only this one, in the same protocol"
    )
    reproduce.add_argument(
        "--runs", type=run_count, help="seeds N, N+1, .. (default: 10, with --quick 2)"
    )
    reproduce.add_argument("--seed", type=natural, default=0, help="the first, N (default: 0)")
    reproduce.add_argument(
        "--schedule",
        choices=("default", "published"),
        default="default",
        help="ours, an hour or two on 2 cores, or the paper's, days of a GPU (default: default)",
    )
    reproduce.add_argument(
        "--quick", action="store_true", help="minutes: few epochs, coarse grids, 2 runs"
    )
    reproduce.add_argument(
        "--generated",
        action="store_true",
        help="the recordings or features are generated: every table then says that it is no result",
    )
    reproduce.add_argument(
        "--workers", type=worker_count, help="rows at once (default: one a core, one on a GPU)"
    )
    reproduce.add_argument("--out", type=Path, required=True, help="folder to write")
    reproduce.add_argument("--json", action="store_true", help=JSON_HELP)


def _add_corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--corpus",
        required=True,
        choices=("deam", "pmemo", "synthetic", "folder"),
        help=_CORPUS_HELP,
    )
    parser.add_argument("--root", type=Path, required=True, help="the corpus' folder")
    parser.add_argument(
        "--features",
        type=Path,
        help="precomputed music features: a CSV of id,f1,f2,... or an NPZ of id → (T, F); it may "
        "hold more than the corpus' pieces",
    )
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
