"""`rs-otl embed`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rs_otl.cli.options import (
    ENCODER_HELP,
    SCENES_HELP,
    Asset,
    Bands,
    DryRun,
    Json,
    Nodata,
    Offset,
    Pool,
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
from rs_otl.errors import wants_bars

if TYPE_CHECKING:  # importing it takes seconds
    from rs_otl.geo.planning import EmbedPlan


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
    pool: Pool = None,
    precision: Precision = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped embedding.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Embed scenes: a GeoTIFF with one pixel per cell, or a GeoParquet with one row per tile."""
    if dry_run:
        from rs_otl.geo.planning import plan_embedding

        planned = plan_embedding(
            scenes,
            encoder,
            output,
            tile,
            stride,
            pca,
            listed(bands),
            nodata,
            given_values(scale, offset, units),
            image_size,
            precision,
        )
        _print_plan(planned, as_json)
        return

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
        pool=pool,
        precision=precision,
        resume=resume,
        progress=wants_bars(),
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


def _print_plan(planned: "EmbedPlan", as_json: bool) -> None:
    if as_json:
        print_json(planned)
        return
    from rs_otl.progress import time_in_words

    typer.echo(f"reads    {planned.tiles:,} tiles of {', '.join(planned.scenes)}")
    typer.echo(
        f"writes   {planned.out}: {planned.cells:,} cells of {planned.features:,} features, "
        f"{planned.bytes / 1e6:,.1f} MB, and as much aside until it is whole"
    )
    typer.echo(f"takes    about {time_in_words(planned.seconds)}")
