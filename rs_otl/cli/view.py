"""`rs-otl view`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Asset, with_assets
from rs_otl.errors import note, wants_bars


def view(
    source: Annotated[
        str,
        typer.Argument(
            help="A scene, or the GeoTIFF that `rs-otl embed` made of it, or ARCHIVE/blocks/SCENE."
        ),
    ],
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="The GeoTIFF that `rs-otl embed` made of the scene, or ARCHIVE/blocks/SCENE.",
            show_default=False,
        ),
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(
            "--map", help="The GeoTIFF that `rs-otl map` made of the scene.", show_default=False
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels that the page has saved, to continue from.", show_default=False),
    ] = None,
    asset: Asset = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Page to write; must be new. Default: the embeddings' name with .html; for "
            "a scene of an archive, in the current folder.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a page to look at a scene and its map, find similar places, and label by clicks.

    It needs no network. `rs-otl map --labels` reads the labels that it saves.
    """
    from rs_otl.geo import view as run

    named = Path(embeddings or source)
    # Nothing is written into an archive.
    out = output or (
        Path(f"{named.resolve().name}.html") if named.is_dir() else named.with_suffix(".html")
    )
    typer.echo(
        run(
            with_assets([source], asset)[0],
            out,
            embeddings=embeddings,
            class_map=class_map,
            labels=labels,
            progress=wants_bars(),
        )
    )
    note("open it in a browser; to map: Label, name a class, click places of it, then the next")
