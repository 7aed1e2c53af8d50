"""`rs-otl view`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def view(
    source: Annotated[
        Path, typer.Argument(help="A scene, or the GeoTIFF that `rs-otl embed` made of it.")
    ],
    embeddings: Annotated[
        Path | None,
        typer.Option(help="The GeoTIFF that `rs-otl embed` made of the scene.", show_default=False),
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option("--map", help="The GeoTIFF that `rs-otl map` made of it.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels that the page has saved, to go on with.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Page to write; must be new. Default: the embeddings' name with .html.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a page to look at a scene and its map, find similar places, and label by clicks.

    It needs no network. The labels that it saves are those of `rs-otl map --labels`.
    """
    from rs_otl.geo import view as run

    out = output or (embeddings or source).with_suffix(".html")
    typer.echo(
        run(source, out, embeddings=embeddings, class_map=class_map, progress=sys.stderr.isatty())
    )
