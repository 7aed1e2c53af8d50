"""`rs-otl demo`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Json

# What people come for: a map from a few labels, and the page that shows it.
_COMMANDS = (
    "rs-otl embed {0}/scene.tif --encoder timm/tf_efficientnet_lite0 --image-size 64 --stride 16 "
    "-o {0}/embedding.tif",
    "rs-otl map {0}/embedding.tif --labels {0}/labels.geojson -o {0}/map.tif",
    "rs-otl view {0}/scene.tif --embeddings {0}/embedding.tif --map {0}/map.tif -o {0}/page.html",
)


def demo(
    out: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """Draw a scene and a few labelled places on it, and say how to make a map of them."""
    import shlex

    from rs_otl.geo import demo as run

    folder = run(out)
    commands = [command.format(shlex.quote(str(folder))) for command in _COMMANDS]
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "commands": commands}, indent=2))
        return
    typer.echo(
        f"written  {folder / 'scene.tif'}, {folder / 'labels.geojson'}, {folder / 'later.tif'}"
    )
    for word, command in zip(("next", "", ""), commands, strict=True):
        typer.echo(f"{word:<8} {command}")
