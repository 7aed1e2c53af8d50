"""`rs-otl evaluate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Division, Json, KeepDuplicatesTogether, Root


def evaluate(
    source: Annotated[str, typer.Argument(help="A run, an encoder directory or a data set.")],
    on: Annotated[str, typer.Option(help="Data set of the catalogue, or a folder of classes.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where evaluation.json goes; else the run, or runs/evaluate/DATASET.",
            show_default=False,
        ),
    ] = None,
    division: Division = None,
    keep_duplicates_together: KeepDuplicatesTogether = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Judge an encoder by kNN and linear accuracy, beside the same one untrained."""
    from rich.console import Console

    from rs_otl.runs import evaluate_run

    report, directory = evaluate_run(
        source,
        on,
        root,
        out,
        division,
        keep_duplicates_together,
        seed,
        progress=sys.stderr.isatty(),
    )
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        report.table(Console())
        typer.echo(f"written  {directory}")
