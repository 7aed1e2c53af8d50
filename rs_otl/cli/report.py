"""`rs-otl report`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Root
from rs_otl.errors import wants_bars


def report(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs; several side by side.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML page to write; must be new.")
    ],
    root: Root = None,
) -> None:
    """Write one page on runs: images, curves, scores, clusters, neighbours, recipe, commands."""
    from rs_otl.runs import report as run

    typer.echo(f"written  {run(runs, output, root, progress=wants_bars())}")
