"""`rs-otl index`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Json, print_json
from rs_otl.errors import wants_bars


def index(
    embeddings: Annotated[
        list[Path],
        typer.Argument(help="GeoTIFFs or archives that `rs-otl embed` made with one encoder."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; must be new.")],
    as_json: Json = False,
) -> None:
    """Index embeddings, so that `rs-otl search` searches millions of tiles at once."""
    from rs_otl.geo import index as run

    done = run(embeddings, output, progress=wants_bars())
    if as_json:
        print_json(done)
        return
    typer.echo(
        f"{done.path}: {done.tiles:,} tiles of {done.features:,} features, {done.scenes:,} files"
    )
