"""``circumplex bench``: the benchmarks that a user would ask for, by the contract's names."""

from __future__ import annotations

import argparse

from cli.failure import InputError

_NAMES = {"search": "search", "encode": "encode", "train": "step", "serve": "serve"}


def bench(options: argparse.Namespace) -> None:
    """Run one benchmark and print what it found."""
    try:
        from bench.__main__ import main
    except ModuleNotFoundError as error:
        raise InputError(
            f"benchmarks need {error.name}: pip install 'circumplex[dev]', which brings the peers"
        ) from error
    arguments = [_NAMES[options.benchmark]]
    if options.json:
        arguments.append("--json")
    if options.benchmark == "search":
        arguments += ["--items", str(options.items), "--dim", str(options.dim)]
    if options.data is not None:
        arguments += ["--data", str(options.data)]
    main(arguments)
