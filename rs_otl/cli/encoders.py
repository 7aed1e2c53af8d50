"""`rs-otl encoders`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rs_otl.cli.options import Json, console, print_json
from rs_otl.errors import note

_HEADINGS = ("Encoder", "Architecture", "Bands", "Units", "Pixels", "Trained on", "Licence", "Here")


def encoders(
    folder: Annotated[
        Path,
        typer.Argument(help="Where to look for runs/ and for exported directories."),
    ] = Path(),
    as_json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print torchgeo's encoders as a table for a page.")
    ] = False,
) -> None:
    """List the encoders that a command can take: runs, exports, timm's, torchgeo's."""
    from rs_otl.models.known import known_encoders

    known = known_encoders(folder)
    if as_json:
        print_json(known)
        return
    table = Table(box=None, pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(
            heading, overflow="fold", justify="right" if heading == "Pixels" else "left"
        )
    rows = [
        (
            one.name,
            one.architecture,
            ", ".join(one.bands),
            one.units if one.instead is None else f"no encoder: {one.instead}",
            str(one.image_size or ""),
            one.dataset,
            one.licence or "not stated",
            "yes" if one.here else "no" if one.instead is None else "",
        )
        for one in known
    ]
    if markdown:
        typer.echo(f"| {' | '.join(_HEADINGS[:-1])} |\n|{'---|' * (len(_HEADINGS) - 1)}")
        for one, row in zip(known, rows, strict=True):
            if one.kind == "torchgeo":
                typer.echo(f"| `{row[0]}` | {' | '.join(row[1:-1])} |")
        return
    for row in rows:
        table.add_row(*row)
    console().print(table)
    note(
        "and timm/NAME for every NAME of timm.list_pretrained(), such as "
        "timm/vit_small_patch14_dinov2; all weights that are not here are fetched when used"
    )
