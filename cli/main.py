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

from cli.arguments import (
    JSON_HELP,
    Commands,
    add_command,
    dimension,
    item_count,
    port,
    result_count,
)
from cli.failure import explain
from cli.training_arguments import add_evaluate, add_reproduce, add_train

_HOME_HELP = "where database, bundles and index live (default: $CIRCUMPLEX_HOME, else ./home)"


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
    add_train(commands)
    add_evaluate(commands)
    add_reproduce(commands)
    _add_ingest(commands)
    _add_search(commands)
    _add_index(commands)
    _add_serve(commands)
    _add_bench(commands)
    return parser


def _add_demo(commands: Commands) -> None:
    demo = add_command(
        commands,
        "demo",
        "demo:demo",
        "train, index and serve with no other input",
        "Synthesises the built-in corpus, extracts features, trains a model, fills the catalogue, "
        "prints the model's figures, and serves page and API. What is done already is not done "
        "again.",
    )
    demo.add_argument("--home", type=Path, help=_HOME_HELP)
    demo.add_argument("--port", type=port, default=8000, help="port to serve on (default: 8000)")
    demo.add_argument("--no-serve", action="store_true", help="stop once everything is ready")


def _add_ingest(commands: Commands) -> None:
    ingest = add_command(
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
    ingest.add_argument("--json", action="store_true", help=JSON_HELP)


def _add_search(commands: Commands) -> None:
    search = commands.add_parser(
        "search", help="query the catalogue", description="Query the catalogue without a server."
    )
    kinds = search.add_subparsers(title="kinds", required=True, metavar="KIND")
    tracks = add_command(
        kinds, "tracks", "catalogue:search_tracks", "rank tracks for a curve or a mood", ""
    )
    asked = tracks.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--curve", type=Path, help='JSON: {"arousal": [..], "valence": [..], "rate_hz": 2}'
    )
    asked.add_argument("--mood", help="a mood word, as calm")
    emotions = add_command(
        kinds,
        "emotions",
        "catalogue:search_emotions",
        "rank emotions for a recording and estimate its arousal and valence",
        "",
    )
    emotions.add_argument("file", type=Path, help="a recording")
    for kind in (tracks, emotions):
        kind.add_argument("-k", type=result_count, default=10, help="results (default: 10)")
        kind.add_argument("--home", type=Path, help=_HOME_HELP)
        kind.add_argument("--json", action="store_true", help=JSON_HELP)


def _add_index(commands: Commands) -> None:
    index = commands.add_parser(
        "index",
        help="build, fill or verify the search index",
        description="Work on the search index.",
    )
    actions = index.add_subparsers(title="actions", required=True, metavar="ACTION")
    build = add_command(
        actions, "build", "catalogue:index_build", "build the index from the database", ""
    )
    fill = add_command(
        actions,
        "fill",
        "catalogue:index_fill",
        "bring the present index into Milvus ($CIRCUMPLEX_MILVUS_URI)",
        "What is there already is not sent again. `build` does it for the index that it builds.",
    )
    verify = add_command(
        actions,
        "verify",
        "catalogue:index_verify",
        "compare the index with the database and its answers with an exhaustive search",
        "Exits with 1 where they differ.",
    )
    for action in (build, fill, verify):
        action.add_argument("--home", type=Path, help=_HOME_HELP)
        action.add_argument("--json", action="store_true", help=JSON_HELP)


def _add_serve(commands: Commands) -> None:
    serve = add_command(commands, "serve", "catalogue:serve", "serve the page and the API", "")
    serve.add_argument("--home", type=Path, help=_HOME_HELP)
    serve.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    serve.add_argument("--port", type=port, default=8000, help="port (default: 8000)")


def _add_bench(commands: Commands) -> None:
    bench = add_command(
        commands,
        "bench",
        "bench:bench",
        "measure this machine, beside what a user would pick instead",
        "Prints each quantity with its unit in its name, and each peer's beside it. search needs "
        "DEAM's folder beside that of --data, to train towers on; they are kept in the cache.",
    )
    bench.add_argument("benchmark", choices=("search", "encode", "train", "serve"))
    bench.add_argument(
        "--items", type=item_count, default=100_000, help="windows of search (default: 100000)"
    )
    bench.add_argument(
        "--dim", type=dimension, default=256, help="D of search's towers (default: 256)"
    )
    bench.add_argument("--data", type=Path, help="VGMIDI's folder, with those of DEAM beside it")
    bench.add_argument("--json", action="store_true", help=JSON_HELP)


if __name__ == "__main__":
    sys.exit(main())
