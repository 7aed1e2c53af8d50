"""`rs-otl tile`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import (
    SCENES_HELP,
    Asset,
    Json,
    Nodata,
    print_json,
    with_assets,
)
from rs_otl.errors import wants_bars


def tile(
    scenes: Annotated[list[str], typer.Argument(help=SCENES_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; must be new.")],
    size: Annotated[int, typer.Option("--tile", min=1, help="Side of a chip in pixels.")] = 256,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pixels from one chip to the next. Default: the side.", show_default=False
        ),
    ] = None,
    asset: Asset = None,
    nodata: Nodata = None,
    as_json: Json = False,
) -> None:
    """Cut scenes into GeoTIFF chips; those that are mostly nodata are left out."""
    from rs_otl.geo import tile as run

    done = run(
        with_assets(scenes, asset),
        output,
        size=size,
        stride=stride,
        nodata=nodata,
        progress=wants_bars(),
    )
    if as_json:
        print_json(done)
        return
    for result in done:
        typer.echo(f"{result.scene}: {result.chips:,} chips, {result.nodata:,} left out as nodata")
    typer.echo(f"written  {output}")
