"""`rs-otl change`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Embeddings, Json, print_json
from rs_otl.errors import wants_bars


def change(
    before: Embeddings,
    after: Annotated[
        Path, typer.Argument(help="Embeddings of another date, with the same encoder and CRS.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="GeoTIFF of distances to write; must be new.")
    ],
    as_json: Json = False,
) -> None:
    """Find what has changed between two dates of one place."""
    from rs_otl.geo import change as run

    done = run(before, after, output, progress=wants_bars())
    if as_json:
        print_json(done)
        return
    area = "" if done.hectares is None else f", {done.hectares:,.2f} ha"
    typer.echo(
        f"changed  {done.changed:,} of {done.shared:,} cells, "
        f"{100 * done.changed / done.shared:.1f} %{area}"
    )
    typer.echo(f"median distance {done.median:.4f}, changed above {done.threshold:.4f}")
    typer.echo(f"written  {done.path}, {done.mask}, {done.mask.with_suffix('.qml')}")
