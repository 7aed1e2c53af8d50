"""`rs-otl search`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import (
    SCENES_HELP,
    Asset,
    Bands,
    Json,
    Nodata,
    Offset,
    Precision,
    Scale,
    SceneEncoder,
    Stride,
    Tile,
    TileImageSize,
    Units,
    given_values,
    listed,
    print_json,
    with_assets,
)

_SHOWN = 10


def search(
    scenes: Annotated[
        list[str],
        typer.Argument(help=f"GeoTIFFs that `rs-otl embed` made, or scenes: {SCENES_HELP}"),
    ],
    query: Annotated[
        str,
        typer.Option(
            help="What to look for: x,y or left,bottom,right,top in a scene's CRS, or an image."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="GeoJSON to write; must be new.")],
    count: Annotated[int, typer.Option("-n", min=1, help="Hits wanted.")] = 50,
    query_crs: Annotated[
        str | None,
        typer.Option(
            help="CRS of the query's coordinates, such as EPSG:4326. Default: the scene's.",
            show_default=False,
        ),
    ] = None,
    encoder: SceneEncoder = None,
    tile: Tile = None,
    stride: Stride = None,
    bands: Bands = None,
    asset: Asset = None,
    nodata: Nodata = None,
    scale: Scale = None,
    offset: Offset = None,
    units: Units = None,
    image_size: TileImageSize = None,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Find the places of scenes that look most like one, or like an image."""
    from rs_otl.geo import search as run

    hits = run(
        with_assets(scenes, asset),
        query,
        output,
        encoder=encoder,
        count=count,
        query_crs=query_crs,
        tile=tile,
        stride=stride,
        bands=listed(bands),
        nodata=nodata,
        values=given_values(scale, offset, units),
        image_size=image_size,
        precision=precision,
        progress=sys.stderr.isatty(),
    )
    if as_json:
        print_json(hits)
        return
    for rank, hit in enumerate(hits[:_SHOWN], start=1):
        typer.echo(f"{rank:>3}  {hit.score:.3f}  {hit.scene}  {hit.x:.6f} {hit.y:.6f}")
    if len(hits) > _SHOWN:
        typer.echo(f"     and {len(hits) - _SHOWN} more")
    typer.echo(f"written  {output}")
