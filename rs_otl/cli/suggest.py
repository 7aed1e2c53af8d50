"""`rs-otl suggest`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Embeddings, Json, LabelField, LabelLayer, print_json
from rs_otl.errors import shortened, wants_bars

_SHOWN = 10


def suggest(
    embeddings: Embeddings,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="GeoJSON or GeoPackage of places to write; must be new."
        ),
    ],
    count: Annotated[int, typer.Option("-n", help="Places wanted.")] = 20,
    labels: Annotated[
        Path | None,
        typer.Option(help="The labels so far, as `rs-otl map` takes them.", show_default=False),
    ] = None,
    field: LabelField = None,
    layer: LabelLayer = None,
    as_json: Json = False,
) -> None:
    """Choose the places of a scene to label next."""
    from rs_otl.geo import suggest as run

    places = run(
        embeddings,
        output,
        count=count,
        labels=labels,
        field=field,
        layer=layer,
        progress=wants_bars(),
    )
    if as_json:
        print_json(places)
        return
    for place in places[:_SHOWN]:
        line = (
            f"{place.rank:>3}  {place.x:.6f} {place.y:.6f}  like {100 * place.share:.1f} % of the "
            "scene"
        )
        if place.confidence is not None:
            line += f", {shortened(str(place.looks_like))} at {100 * place.confidence:.0f} %"
        typer.echo(line)
    if len(places) > _SHOWN:
        typer.echo(f"     and {len(places) - _SHOWN} more")
    typer.echo(f"written  {output}: fill in `class`, then `rs-otl map --labels {output}`")
