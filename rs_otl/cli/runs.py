"""`rs-otl runs`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rs_otl.cli.interrupted import command_to_go_on
from rs_otl.cli.options import Json, console


def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, at any depth.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs: what they are trained on, how far they are, their scores and size."""
    from rs_otl.runs import list_runs

    listed = list_runs(folder)
    if as_json:
        typer.echo(json.dumps([asdict(run) for run in listed], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Run", overflow="fold")
    for heading in ("Data set", "Encoder", "State"):
        table.add_column(heading)
    for heading in ("Epochs", "kNN", "MB"):
        table.add_column(heading, justify="right")
    for heading in ("Evaluated on", "Latest epoch"):
        table.add_column(heading)
    for run in listed:
        table.add_row(
            run.run,
            run.dataset + (", with labels" if run.labels else ""),
            run.encoder,
            run.state,
            f"{run.epochs:,} of {run.of:,}",
            "" if run.knn is None else f"{100 * run.knn:.1f}",
            f"{run.bytes / 1e6:,.0f}",
            ", ".join(
                f"{name}: kNN {100 * knn:.1f}, linear {100 * linear:.1f}"
                for name, (knn, linear) in run.scores.items()
            ),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed)),
        )
    console().print(table)
    for run in listed:
        if run.state == "stopped" and (again := command_to_go_on(run.command)):
            typer.echo(f"{run.run} is continued by: {again}")
