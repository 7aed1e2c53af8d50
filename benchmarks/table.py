"""Rows of a benchmark: how they are measured and printed."""

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import typer

from rs_otl.bench.labels import now
from rs_otl.errors import InputError
from rs_otl.memory import keep_freed_memory

Rounds = Annotated[int, typer.Option(min=1, help="Times that each contestant is measured.")]
DataSet = Annotated[str, typer.Argument(help="RGB data set of the catalogue, or a folder.")]


class Row(NamedTuple):
    """A row of a benchmark.

    Attributes:
        name: What was measured.
        rate: Images a second; an image counts once, whatever its number of views.
        ratio: Rate divided by that of the reference row; ``None`` if they cannot be compared.
    """

    name: str
    rate: float
    ratio: float | None


def in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time all contestants, round after round, so that other load affects all equally.

    Args:
        contestants: What to call, by name. Each is called once beforehand, to warm up.
        rounds: Number of measured rounds.

    Returns:
        Median seconds by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for measured in (False, *[True] * rounds):
        for name, call in contestants.items():
            began = now()
            call()
            if measured:
                seconds[name].append(now() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def text(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| | images/s | ratio |", "|---|---|---|"]
    for name, rate, ratio in rows:
        lines.append(f"| {name} | {rate:,.1f} | {'' if ratio is None else f'{ratio:.2f}'} |")
    return "\n".join(lines)


def print_rows(rows: list[Row], as_json: bool) -> None:
    """Print rows as JSON or as a Markdown table."""
    typer.echo(json.dumps([row._asdict() for row in rows]) if as_json else text(rows))


def run(main: Callable[..., Any]) -> None:
    """Run a script's function as a command line; bad input ends it with one line and code 2."""
    keep_freed_memory()  # as rs-otl does
    try:
        typer.run(main)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
