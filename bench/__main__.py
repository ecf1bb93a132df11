"""``python -m bench [NAME]``: run benchmarks and print what they found."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.timing import Report
from models.encoders import EncoderKind

_ENCODERS: tuple[EncoderKind, ...] = ("mlp", "bigru", "attention")
_VGMIDI = Path("../shared/data/vgmidi")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks that are asked for."""
    options = _parser().parse_args(arguments)
    if options.home is None and (Path("home") / "snapshots").is_dir():
        options.home = Path("home")
    reports = {name: _BENCHMARKS[name](options) for name in options.names or _SPEED}
    if options.json:
        print(json.dumps(reports, indent=2))
        return
    for name, report in reports.items():
        print(f"{name}\n{'=' * len(name)}")
        _print(report, indent=0)
        print()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        type=_name,
        metavar="NAME",
        help=f"{', '.join(_BENCHMARKS)} (default: {', '.join(_SPEED)}; the others take minutes)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--home",
        type=Path,
        help="home folder with a catalogue (default: ./home; where there is none, a random one)",
    )
    parser.add_argument("--rounds", type=int, default=7, help="runs that a median is over (7)")
    parser.add_argument(
        "--data", type=Path, default=_VGMIDI, help=f"VGMIDI's folder (default: {_VGMIDI})"
    )
    parser.add_argument(
        "--encoder",
        nargs="+",
        choices=_ENCODERS,
        help="of the music tower (default: all that are compared)",
    )
    parser.add_argument("--folds", type=int, default=5, help="of estimate and sequences (5)")
    parser.add_argument("--seed", type=int, default=0, help="of estimate and sequences (0)")
    parser.add_argument(
        "--pretrained",
        action="store_true",
        help="sequences: train encoders also after pre-training on the recordings beside --data",
    )
    parser.add_argument(
        "--out", type=Path, help="sequences: folder of each fold's record, taken from there again"
    )
    parser.add_argument(
        "--items", type=int, default=100_000, help="of search, growth and sketch (100000)"
    )
    parser.add_argument(
        "--budget-s", type=float, default=600.0, help="growth: the most of one peer (600)"
    )
    parser.add_argument(
        "--encodings", type=Path, help="growth: a file of them that `search --out` left"
    )
    parser.add_argument(
        "--towers", choices=("committee", "mlp"), default="committee", help="of search (committee)"
    )
    parser.add_argument("--dim", type=int, default=256, help="D of search's towers (256)")
    parser.add_argument("--batch", type=int, default=1_441, help="pairs of a step (1441)")
    parser.add_argument("--dimensions", type=int, default=1_024, help="D of a step (1024)")
    parser.add_argument(
        "--chunk-rows", type=int, default=32, help="queries that step's peer compares at once (32)"
    )
    parser.add_argument("--files", type=int, default=60, help="that ingest takes in (60)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of them (30)")
    parser.add_argument(
        "--frontend",
        nargs="+",
        choices=("logmel", "vggish"),
        default=("logmel", "vggish"),
        help="that ingest hears with (both)",
    )
    parser.add_argument("--tempo", action="store_true", help="ingest: find their tempi too")
    return parser


def _name(text: str) -> str:
    if text not in _BENCHMARKS:
        raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(_BENCHMARKS)}")
    return text


def _m2e(options: argparse.Namespace) -> Report:
    from bench import m2e

    return m2e.run(options.home, rounds=options.rounds)


def _e2m(options: argparse.Namespace) -> Report:
    from bench import e2m

    return e2m.run(options.home, rounds=options.rounds)


def _logmel(options: argparse.Namespace) -> Report:
    from bench import logmel

    return logmel.run(rounds=options.rounds)


def _estimate(options: argparse.Namespace) -> Report:
    from bench import estimate

    return estimate.run(
        *estimate.load_vgmidi(options.data),
        encoders=options.encoder or ("mlp", "bigru"),
        folds=options.folds,
        seed=options.seed,
    )


def _sequences(options: argparse.Namespace) -> Report:
    from bench import estimate, sequences

    return sequences.run(
        *estimate.load_vgmidi(options.data),
        encoders=options.encoder or _ENCODERS,
        unlabelled=sequences.load_clips(options.data.parent) if options.pretrained else None,
        folds=options.folds,
        seed=options.seed,
        out=options.out,
    )


def _ladder(options: argparse.Namespace) -> Report:
    from bench import ladder

    return ladder.run(*ladder.load(options.data.parent / "deam"))


def _step(options: argparse.Namespace) -> Report:
    from bench import step

    return step.run(
        batch=options.batch,
        dimensions=options.dimensions,
        chunk_rows=options.chunk_rows,
        rounds=options.rounds,
    )


def _rows(options: argparse.Namespace) -> Report:
    from bench import rows

    return rows.run(rounds=options.rounds)


def _transfer(options: argparse.Namespace) -> Report:
    from bench import transfer

    return transfer.run(*transfer.load(options.data.parent / "deam", options.data))


def _schedule(options: argparse.Namespace) -> Report:
    from bench import schedule

    material = schedule.load_material(options.data.parent / "deam")
    return schedule.run(material, seeds=range(3))


def _genres(options: argparse.Namespace) -> Report:
    from bench import genres

    return genres.run(*genres.load(options.data.parent / "deam"))


def _encode(options: argparse.Namespace) -> Report:
    from bench import encode

    return encode.run(rounds=options.rounds)


def _precision(options: argparse.Namespace) -> Report:
    from bench import precision

    return precision.run(sorted((options.data.parent / "recordings").glob("*.mp3")))


def _serve(options: argparse.Namespace) -> Report:
    from bench import serve

    return serve.run(rounds=options.rounds)


def _search(options: argparse.Namespace) -> Report:
    from bench import search, towers

    material = towers.load_material(options.data.parent / "deam", options.dim, options.towers)
    return search.run(material, items=options.items, rounds=options.rounds, folder=options.out)


def _ingest(options: argparse.Namespace) -> Report:
    from bench import ingest

    return ingest.run(
        files=options.files,
        seconds=options.seconds,
        frontends=tuple(options.frontend),
        tempo=options.tempo,
    )


def _sketch(options: argparse.Namespace) -> Report:
    from bench import sketch, towers

    material = towers.load_material(options.data.parent / "deam", options.dim, options.towers)
    return sketch.run(material, items=options.items)


def _sizing(options: argparse.Namespace) -> Report:
    from bench import sizing, towers

    material = towers.load_material(options.data.parent / "deam", options.dim, options.towers)
    return sizing.run(material, items=options.items, rounds=options.rounds)


def _growth(options: argparse.Namespace) -> Report:
    from bench import growth, towers

    material = towers.load_material(options.data.parent / "deam", options.dim, options.towers)
    return growth.run(
        material,
        largest=options.items,
        out=options.out or Path("growth"),
        budget_s=options.budget_s,
        everything=options.encodings,
    )


def _pauses(_: argparse.Namespace) -> Report:
    from bench import pauses

    return pauses.run()


def _milvus(options: argparse.Namespace) -> Report:
    from bench import milvus

    return milvus.run(rounds=options.rounds)


_SPEED = ("m2e", "e2m", "logmel")
_BENCHMARKS: dict[str, Callable[[argparse.Namespace], Report]] = {
    "m2e": _m2e,
    "e2m": _e2m,
    "logmel": _logmel,
    "estimate": _estimate,
    "sequences": _sequences,
    "ladder": _ladder,
    "step": _step,
    "rows": _rows,
    "schedule": _schedule,
    "transfer": _transfer,
    "genres": _genres,
    "search": _search,
    "growth": _growth,
    "sketch": _sketch,
    "sizing": _sizing,
    "encode": _encode,
    "precision": _precision,
    "serve": _serve,
    "pauses": _pauses,
    "milvus": _milvus,
    "ingest": _ingest,
}


def _print(report: Report, *, indent: int) -> None:
    for name, value in report.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            _print_table(value)
        elif isinstance(value, dict):
            print(f"{' ' * indent}{name}:")
            _print(value, indent=indent + 2)
        else:
            print(f"{' ' * indent}{name:<{36 - indent}} {_figure(value)}")


def _print_table(rows: list[Report]) -> None:
    cells = [list(rows[0]), *([_figure(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
