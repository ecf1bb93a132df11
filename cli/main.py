"""Arguments in, exit status out: 0 done, 2 wrong usage or input, 1 anything else.

Each command lives in a module of its own, imported only when it is called, so that ``--help`` does
not wait for torch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from cli.failure import explain

_HOME_HELP = "where database, bundles and index live (default: $CIRCUMPLEX_HOME, else ./home)"
_CORPUS_HELP = (
    "deam or pmemo in their official layouts; synthetic; or folder: curves.csv with audio/<id>.* "
    "beside it"
)
_JSON_HELP = "print machine-readable results on stdout"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors become one line on stderr and an exit status."""
    options = _parser().parse_args(arguments)
    if getattr(options, "home", None) is not None:
        os.environ["CIRCUMPLEX_HOME"] = str(options.home)
    module, function = options.run.split(":")
    try:
        getattr(importlib.import_module(f"cli.{module}"), function)(options)
    except KeyboardInterrupt:
        sys.stderr.write("circumplex: interrupted; run it again to go on where it stopped\n")
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:  # noqa: BLE001  the last resort: one line, never a traceback
        status, line = explain(error)
        sys.stderr.write(f"circumplex: {line}\n")
        return status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="circumplex",
        description="Find music by emotion, and emotion in music.",
        epilog="Exit status: 0 done, 2 wrong usage or input, 1 anything else.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_reproduce(commands)
    _add_ingest(commands)
    _add_search(commands)
    _add_index(commands)
    _add_serve(commands)
    _add_bench(commands)
    return parser


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _command(
    commands: _Commands, name: str, run: str, summary: str, more: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}"
    )
    parser.set_defaults(run=run)
    return parser


def _add_demo(commands: _Commands) -> None:
    demo = _command(
        commands,
        "demo",
        "demo:demo",
        "train, index and serve with no other input",
        "Synthesises the built-in corpus, extracts features, trains a model, fills the catalogue, "
        "prints the model's figures, and serves page and API. What is done already is not done "
        "again.",
    )
    demo.add_argument("--home", type=Path, help=_HOME_HELP)
    demo.add_argument("--port", type=_port, default=8000, help="port to serve on (default: 8000)")
    demo.add_argument("--no-serve", action="store_true", help="stop once everything is ready")


def _add_train(commands: _Commands) -> None:
    train = _command(
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
        choices=("float32", "int8"),
        default="float32",
        help="of vggish; int8 hears faster and a little differently (default: float32)",
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
    train.add_argument("--seed", type=_natural, default=0, help="split and weights (default: 0)")
    train.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")


def _add_evaluate(commands: _Commands) -> None:
    evaluate = _command(
        commands,
        "evaluate",
        "train:evaluate",
        "report a bundle's figures on the held-out part of its corpus",
        "Prints MRR, AR and recall@10 in both directions beside chance, and the errors of the "
        "estimated arousal and valence.",
    )
    evaluate.add_argument("bundle", type=Path, help="folder of the bundle")
    _add_corpus(evaluate)


def _add_reproduce(commands: _Commands) -> None:
    reproduce = _command(
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
        "--runs", type=_run_count, help="seeds N, N+1, .. (default: 10, with --quick 2)"
    )
    reproduce.add_argument("--seed", type=_natural, default=0, help="the first, N (default: 0)")
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
        "--workers", type=_worker_count, help="rows at once (default: one a core, one on a GPU)"
    )
    reproduce.add_argument("--out", type=Path, required=True, help="folder to write")
    reproduce.add_argument("--json", action="store_true", help=_JSON_HELP)


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
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)


def _add_ingest(commands: _Commands) -> None:
    ingest = _command(
        commands,
        "ingest",
        "catalogue:ingest",
        "take recordings into the catalogue and index them",
        "Reads files and folders of recordings, writes tracks and encodings to the database and a "
        "new search index; files that cannot be used are listed. Files known by their content are "
        "skipped, so that an interrupted run goes on where it stopped. Prints tracks a second and "
        "how many times faster than real time they were heard.",
    )
    ingest.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="file or folder")
    ingest.add_argument("--home", type=Path, help=_HOME_HELP)
    ingest.add_argument("--bundle", type=Path, help="encode with this bundle and make it active")
    ingest.add_argument(
        "--ray",
        action="store_true",
        help="hear them by Ray, on this machine; needs the extra of that name",
    )
    ingest.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="hear them by this Ray cluster, whose machines see the recordings under the same "
        "paths and have Circumplex installed",
    )
    ingest.add_argument("--json", action="store_true", help=_JSON_HELP)


def _add_search(commands: _Commands) -> None:
    search = commands.add_parser(
        "search", help="query the catalogue", description="Query the catalogue without a server."
    )
    kinds = search.add_subparsers(title="kinds", required=True, metavar="KIND")
    tracks = _command(
        kinds, "tracks", "catalogue:search_tracks", "rank tracks for a curve or a mood", ""
    )
    asked = tracks.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--curve", type=Path, help='JSON: {"arousal": [..], "valence": [..], "rate_hz": 2}'
    )
    asked.add_argument("--mood", help="a mood word, as calm")
    emotions = _command(
        kinds,
        "emotions",
        "catalogue:search_emotions",
        "rank emotions for a recording and estimate its arousal and valence",
        "",
    )
    emotions.add_argument("file", type=Path, help="a recording")
    for kind in (tracks, emotions):
        kind.add_argument("-k", type=_result_count, default=10, help="results (default: 10)")
        kind.add_argument("--home", type=Path, help=_HOME_HELP)
        kind.add_argument("--json", action="store_true", help=_JSON_HELP)


def _add_index(commands: _Commands) -> None:
    index = commands.add_parser(
        "index",
        help="build, fill or verify the search index",
        description="Work on the search index.",
    )
    actions = index.add_subparsers(title="actions", required=True, metavar="ACTION")
    build = _command(
        actions, "build", "catalogue:index_build", "build the index from the database", ""
    )
    fill = _command(
        actions,
        "fill",
        "catalogue:index_fill",
        "bring the present index into Milvus ($CIRCUMPLEX_MILVUS_URI)",
        "What is there already is not sent again. `build` does it for the index that it builds.",
    )
    verify = _command(
        actions,
        "verify",
        "catalogue:index_verify",
        "compare the index with the database and its answers with an exhaustive search",
        "Exits with 1 where they differ.",
    )
    for action in (build, fill, verify):
        action.add_argument("--home", type=Path, help=_HOME_HELP)
        action.add_argument("--json", action="store_true", help=_JSON_HELP)


def _add_serve(commands: _Commands) -> None:
    serve = _command(commands, "serve", "catalogue:serve", "serve the page and the API", "")
    serve.add_argument("--home", type=Path, help=_HOME_HELP)
    serve.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    serve.add_argument("--port", type=_port, default=8000, help="port (default: 8000)")


def _add_bench(commands: _Commands) -> None:
    bench = _command(
        commands,
        "bench",
        "bench:bench",
        "measure this machine, beside what a user would pick instead",
        "Prints each quantity with its unit in its name, and each peer's beside it. search needs "
        "DEAM's folder beside that of --data, to train towers on; they are kept in the cache.",
    )
    bench.add_argument("benchmark", choices=("search", "encode", "train", "serve"))
    bench.add_argument(
        "--items", type=_item_count, default=100_000, help="windows of search (default: 100000)"
    )
    bench.add_argument(
        "--dim", type=_dimension, default=256, help="D of search's towers (default: 256)"
    )
    bench.add_argument("--data", type=Path, help="VGMIDI's folder, with those of DEAM beside it")
    bench.add_argument("--json", action="store_true", help=_JSON_HELP)


def _item_count(text: str) -> int:
    return _whole_number(text, 1_000, 1_000_000_000)


def _dimension(text: str) -> int:
    number = _whole_number(text, 8, 8_192)
    if number % 8:
        raise argparse.ArgumentTypeError(f"{number} is no multiple of 8")
    return number


def _port(text: str) -> int:
    return _whole_number(text, 0, 65_535)


def _natural(text: str) -> int:
    return _whole_number(text, 0, 2**32 - 1)


def _result_count(text: str) -> int:
    return _whole_number(text, 1, 100)


def _run_count(text: str) -> int:
    return _whole_number(text, 1, 1_000)


def _worker_count(text: str) -> int:
    return _whole_number(text, 1, 256)


def _whole_number(text: str, low: int, high: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{number} is not within {low} to {high}")
    return number


if __name__ == "__main__":
    sys.exit(main())
