"""`rs-otl cluster`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Embeddings, Json, print_json
from rs_otl.errors import wants_bars


def cluster(
    embeddings: Embeddings,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="GeoTIFF of the map to write; must be new.")
    ],
    clusters: Annotated[int, typer.Option("-k", help="Clusters wanted.")] = 12,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Make all clusters equally large.")
    ] = False,
    scene: Annotated[
        str | None,
        typer.Option(
            help="The scene, or its STAC item, to write the most typical tiles of each cluster "
            "as a picture too.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Map a scene without labels: what looks alike is one cluster."""
    from rs_otl.geo import cluster as run

    done = run(
        embeddings,
        output,
        clusters=clusters,
        balanced=balanced,
        scene=scene,
        progress=wants_bars(),
    )
    if as_json:
        print_json(done)
        return
    with_data = max(sum(done.cells.values()), 1)
    for name, cells in done.cells.items():
        line = f"{name:<12} {100 * cells / with_data:5.1f} % of the cells"
        if done.hectares is not None:
            line += f", {done.hectares[name]:,.2f} ha"
        typer.echo(line)
    written = [done.path, done.path.with_suffix(".qml"), done.sheet]
    typer.echo(f"written  {', '.join(str(path) for path in written if path)}")
