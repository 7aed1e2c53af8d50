"""`rs-otl embed`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import (
    ENCODER_HELP,
    SCENES_HELP,
    Asset,
    Bands,
    Json,
    Nodata,
    Offset,
    Precision,
    Scale,
    Stride,
    Tile,
    TileImageSize,
    Units,
    given_values,
    listed,
    print_json,
    with_assets,
)


def embed(
    scenes: Annotated[list[str], typer.Argument(help=SCENES_HELP)],
    encoder: Annotated[str, typer.Option(help=ENCODER_HELP)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A .tif for one scene, a .parquet, or a folder for one GeoTIFF per scene; "
            "must be new.",
        ),
    ],
    tile: Tile = None,
    stride: Stride = None,
    pca: Annotated[
        int | None,
        typer.Option(
            min=1, help="Principal components to keep; 3 make a picture.", show_default=False
        ),
    ] = None,
    bands: Bands = None,
    asset: Asset = None,
    nodata: Nodata = None,
    scale: Scale = None,
    offset: Offset = None,
    units: Units = None,
    image_size: TileImageSize = None,
    precision: Precision = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped embedding.")] = False,
    as_json: Json = False,
) -> None:
    """Embed scenes: a GeoTIFF with one pixel per cell, or a GeoParquet with one row per tile."""
    from rs_otl.geo import embed as run

    done = run(
        with_assets(scenes, asset),
        encoder,
        output,
        tile=tile,
        stride=stride,
        pca=pca,
        bands=listed(bands),
        nodata=nodata,
        values=given_values(scale, offset, units),
        image_size=image_size,
        precision=precision,
        resume=resume,
        progress=sys.stderr.isatty(),
    )
    if as_json:
        print_json(done)
        return
    for result in done:
        kept = (
            "" if result.explained is None else f", {100 * result.explained:.1f} % of the variance"
        )
        typer.echo(
            f"{result.path}: {result.cells[0]:,} x {result.cells[1]:,} cells of {result.features} "
            f"features{kept}, {100 * result.nodata:.1f} % nodata; {result.tiles:,} tiles in "
            f"{result.seconds:.1f} s, {100 * result.encoder_seconds / result.seconds:.0f} % in the "
            "encoder"
        )
