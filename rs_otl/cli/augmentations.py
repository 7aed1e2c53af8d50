"""`rs-otl augmentations`."""

from pathlib import Path
from typing import Annotated

import typer


def augmentations(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write; must be new.")],
    image_size: Annotated[
        int, typer.Option(min=16, max=4096, help="Side of a view in pixels.")
    ] = 224,
) -> None:
    """Draw every operation on an image, and some simple and strong views of it."""
    from rs_otl.runs import draw_views

    draw_views(image, output, image_size)
    typer.echo(output)
