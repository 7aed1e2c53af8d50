"""`rs-otl map`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import (
    Bands,
    Json,
    Precision,
    SceneEncoder,
    Stride,
    Tile,
    TileImageSize,
    listed,
    print_json,
)
from rs_otl.errors import note


def map_(
    scene: Annotated[
        Path, typer.Argument(help="A scene, or the GeoTIFF that `rs-otl embed` made of it.")
    ],
    labels: Annotated[
        Path,
        typer.Option(help="Labelled points or polygons: GeoJSON, GeoPackage, GeoParquet or CSV."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="GeoTIFF to write; must be new.")],
    field: Annotated[
        str | None,
        typer.Option(
            help="Attribute that holds the class. Default: the only one, `class` or `label`.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Layer of the labels, where their file has several.", show_default=False),
    ] = None,
    encoder: SceneEncoder = None,
    tile: Tile = None,
    stride: Stride = None,
    bands: Bands = None,
    image_size: TileImageSize = None,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Map a scene from a handful of labelled places."""
    from rs_otl.geo import map as run

    done = run(
        scene,
        labels,
        output,
        encoder=encoder,
        field=field,
        layer=layer,
        tile=tile,
        stride=stride,
        bands=listed(bands),
        image_size=image_size,
        precision=precision,
        progress=sys.stderr.isatty(),
    )
    for label in done.skipped:
        note(f"skipped {label.name}: {label.reason}")
    if as_json:
        print_json(done)
        return
    with_data = sum(done.cells.values())
    for name in done.classes:
        typer.echo(
            f"{name:<24} {100 * done.cells[name] / max(with_data, 1):5.1f} % of the cells, "
            f"{done.labels[name]:,} labels"
        )
    if done.tested:
        assert done.low is not None
        assert done.high is not None
        typer.echo(
            f"cross-validation: {done.correct} of {done.tested} labels predicted correctly, "
            f"{100 * done.correct / done.tested:.0f} %, 95 % interval {100 * done.low:.0f} to "
            f"{100 * done.high:.0f} %"
        )
    else:
        typer.echo("no class has two labels: the accuracy cannot be estimated")
    typer.echo(f"written  {done.path}, {done.path}.aux.xml, {done.path.with_suffix('.qml')}")
