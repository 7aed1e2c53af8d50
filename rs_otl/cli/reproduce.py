"""`rs-otl reproduce`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Json, Root, check_devices, console
from rs_otl.errors import InputError, wants_bars


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tables and figures of the paper, such as table-8 or figure-6. Default: all.",
            show_default=False,
        ),
    ] = None,
    list_: Annotated[
        bool,
        typer.Option(
            "--list",
            "--dry-run",
            help="Show what can be reproduced, what it needs, and about how long it takes.",
        ),
    ] = False,
    scale: Annotated[
        str, typer.Option(help="quick: the same code at a size for two cores; or paper.")
    ] = "quick",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each encoder.")] = 1,
    out: Annotated[
        Path, typer.Option(help="Where runs, scores and pages are kept; a stopped run continues.")
    ] = Path("runs/reproduce"),
    devices: Annotated[
        str, typer.Option(help="Processes, one per device; auto for all devices.")
    ] = "1",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Reproduce the paper's tables and figures, printed beside the paper's numbers."""
    check_devices(devices)

    from rs_otl.reproduce import entries
    from rs_otl.reproduce import reproduce as make

    if list_:
        listed = entries(scale, out, root, seeds)
        if unknown := set(names or ()) - {entry.name for entry in listed}:
            known = ", ".join(entry.name for entry in listed)
            raise InputError(f"{min(unknown)!r}: expected names from {known}")
        listed = [entry for entry in listed if not names or entry.name in names]
        if as_json:
            typer.echo(json.dumps([vars(entry) for entry in listed]))
            return
        from rich.table import Table

        from rs_otl.progress import time_in_words

        table = Table("", "of", "lacks", "encoders", "takes about")
        for entry in listed:
            runs = f"{entry.finished} of {entry.runs}" if entry.runs else ""
            takes = time_in_words(entry.seconds) if entry.seconds else ""
            table.add_row(entry.name, entry.title, ", ".join(entry.missing), runs, takes)
        console().print(table)
        return
    chosen = names or [entry.name for entry in entries(scale, out, root, seeds)]
    result = make(chosen, scale, out, root, seeds, devices, progress=wants_bars())
    if as_json:
        cells = [cell._asdict() | {"difference": cell.difference} for cell in result.cells]
        verdicts = [verdict._asdict() for verdict in result.verdicts]
        typer.echo(json.dumps({"cells": cells, "verdicts": verdicts, "settings": result.settings}))
    else:
        typer.echo((result.folder / "results.md").read_text(encoding="utf-8"))
        typer.echo(f"written  {result.folder}")
