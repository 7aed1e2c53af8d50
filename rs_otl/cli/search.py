"""`rs-otl search`."""

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
    Pool,
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
from rs_otl.errors import wants_bars

_SHOWN = 10


def search(
    scenes: Annotated[
        list[str],
        typer.Argument(
            help="GeoTIFFs or archives that `rs-otl embed` made, an index of them, or scenes: "
            + SCENES_HELP
        ),
    ],
    query: Annotated[
        list[str],
        typer.Option(
            "--query",
            "--like",
            help="What to look for: x,y or left,bottom,right,top in a scene's CRS, or an image. "
            "May be given several times.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="GeoJSON to write; must be new.")],
    count: Annotated[int, typer.Option("-n", min=1, help="Hits wanted.")] = 50,
    unlike: Annotated[
        list[str] | None,
        typer.Option(
            help="What hits must not look like, given as for --query; may be given several times.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="LEFT,BOTTOM,RIGHT,TOP",
            help="Only hits whose centres lie in this box.",
            show_default=False,
        ),
    ] = None,
    when: Annotated[
        str | None,
        typer.Option(
            "--datetime",
            metavar="DATE[/DATE]",
            help="Only scenes taken at this time, such as 2024-05/2024-08 or 2024-05-01/..; for "
            "archives, indexes of them, and STAC items.",
            show_default=False,
        ),
    ] = None,
    query_crs: Annotated[
        str | None,
        typer.Option(
            help="CRS of the coordinates of --query, --unlike and --within, such as EPSG:4326. "
            "Default: the scene's.",
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
    pool: Pool = None,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Find the places of scenes that look most like given places or images."""
    from rs_otl.geo import search as run

    hits = run(
        with_assets(scenes, asset),
        query,
        output,
        unlike=unlike or [],
        within=within,
        datetime=when,
        encoder=encoder,
        count=count,
        query_crs=query_crs,
        tile=tile,
        stride=stride,
        bands=listed(bands),
        nodata=nodata,
        values=given_values(scale, offset, units),
        image_size=image_size,
        pool=pool,
        precision=precision,
        progress=wants_bars(),
    )
    if as_json:
        print_json(hits)
        return
    for rank, hit in enumerate(hits[:_SHOWN], start=1):
        typer.echo(f"{rank:>3}  {hit.score:.3f}  {hit.scene}  {hit.x:.6f} {hit.y:.6f}")
    if len(hits) > _SHOWN:
        typer.echo(f"     and {len(hits) - _SHOWN} more")
    typer.echo(f"written  {output}")
