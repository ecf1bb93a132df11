"""What the command line's parsers share: commands with their help, and checked numbers."""

from __future__ import annotations

import argparse
from typing import TypeAlias

JSON_HELP = "print machine-readable results on stdout"

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, run: str, summary: str, more: str
) -> argparse.ArgumentParser:
    """Add a command that calls ``run``, ``module:function`` below cli, once it is asked for."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}"
    )
    parser.set_defaults(run=run)
    return parser


def item_count(text: str) -> int:
    """How many windows a benchmark searches."""
    return _whole_number(text, 1_000, 1_000_000_000)


def dimension(text: str) -> int:
    """The D of a benchmark's towers."""
    number = _whole_number(text, 8, 8_192)
    if number % 8:
        raise argparse.ArgumentTypeError(f"{number} is no multiple of 8")
    return number


def port(text: str) -> int:
    """A TCP port; 0 takes a free one."""
    return _whole_number(text, 0, 65_535)


def natural(text: str) -> int:
    """A seed."""
    return _whole_number(text, 0, 2**32 - 1)


def result_count(text: str) -> int:
    """How many results."""
    return _whole_number(text, 1, 100)


def run_count(text: str) -> int:
    """How many runs of a reproduction."""
    return _whole_number(text, 1, 1_000)


def worker_count(text: str) -> int:
    """How many rows are trained at once."""
    return _whole_number(text, 1, 256)


def _whole_number(text: str, low: int, high: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{number} is not within {low} to {high}")
    return number
