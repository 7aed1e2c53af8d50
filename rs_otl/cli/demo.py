"""`rs-otl demo`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Json

_WRITTEN = ("scene.tif", "labels.geojson", "later.tif")
# The main use: a map from a few labels, and the page that shows it.
_COMMANDS = (
    "rs-otl embed {0}/scene.tif --encoder timm/tf_efficientnet_lite0 --image-size 64 --stride 16 "
    "-o {0}/embedding.tif",
    "rs-otl map {0}/embedding.tif --labels {0}/labels.geojson -o {0}/map.tif",
    "rs-otl view {0}/scene.tif --embeddings {0}/embedding.tif --map {0}/map.tif -o {0}/page.html",
)
# The same for two places at two dates.
_OF_CATALOG = (
    "rs-otl embed --plan {0}/catalog.json --encoder timm/tf_efficientnet_lite0 --image-size 64 "
    "--stride 16 -o archive",
    "rs-otl embed archive --workers 2",
    "rs-otl map archive --labels {0}/labels.geojson -o maps",
    "rs-otl change archive/blocks/east-2019 archive/blocks/east-2024 -o change.tif",
)


def demo(
    out: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("demo"),
    catalog: Annotated[
        bool,
        typer.Option("--catalog", help="Draw a STAC catalog of two places at two dates instead."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw a scene with a few labelled places, and print the commands that map it."""
    import shlex

    from rs_otl.geo import demo as one
    from rs_otl.geo import demo_catalog as several

    folder = (several if catalog else one)(out)
    commands = [
        command.format(shlex.quote(str(folder)))
        for command in (_OF_CATALOG if catalog else _COMMANDS)
    ]
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "commands": commands}, indent=2))
        return
    written = ("catalog.json", "labels.geojson", "truth") if catalog else _WRITTEN
    typer.echo(f"written  {', '.join(str(folder / name) for name in written)}")
    for number, command in enumerate(commands):
        typer.echo(f"{'' if number else 'next':<8} {command}")
