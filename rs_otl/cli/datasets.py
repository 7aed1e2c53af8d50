"""``rs-otl datasets``: what there is, where it comes from, what is on this disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rs_otl.cli.fetching import fetch
from rs_otl.cli.options import Json, Root, console
from rs_otl.datasets.catalogue import CATALOGUE, Entry, data_root, entry_named
from rs_otl.errors import note, wants_bars


def datasets(
    name: Annotated[str | None, typer.Argument(help="Show this data set in full.")] = None,
    root: Root = None,
    check: Annotated[
        Path | None,
        typer.Option(help="Verify this folder of images; with NAME, the folder that holds NAME."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch NAME, checksum verified, into the root.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the data sets, show one in full, fetch one, or verify a folder."""
    entry = entry_named(name) if name else None
    if download:
        if entry is None:
            raise typer.BadParameter("--download needs the NAME of a data set")
        fetch(entry, root)
    if check is not None:
        facts = _checked(check, entry)
    elif entry is not None:
        facts = _facts(entry, data_root(root))
        layout = entry.layout(data_root(root))
        if layout and layout.note:
            note(layout.note)
    else:
        _list([_facts(entry, data_root(root)) for entry in CATALOGUE.values()], as_json)
        return
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        _print_facts(facts)


def _facts(entry: Entry, root: Path) -> dict[str, Any]:
    """Return everything known about a data set, ready for JSON."""
    layout = entry.layout(root)
    present = entry.present(root)
    images = sum(present.values())
    on_disk = "drawn" if not entry.folders else "no"
    if images:
        on_disk = "partial" if entry.missing(present) else "yes"
    return {
        "name": entry.name,
        "title": entry.title,
        "classes": {name: count or None for name, count in entry.counts.items()},
        "images": entry.images,
        "size": entry.size,
        "bands": list(entry.bands),
        "units": entry.units,
        "scale": entry.scale,
        "resolution": entry.resolution,
        "licence": entry.licence,
        "citation": entry.citation,
        "on disk": on_disk,
        "folder": str(layout.folder if layout else ""),
        "missing": entry.missing(present) if images else None,
        "layout": " or ".join(f"{folder}/{entry.files}" for folder in entry.folders),
        "obtain": entry.obtain,
    }


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Title"):
        table.add_column(heading, no_wrap=heading == "Name")
    for heading in ("Classes", "Images", "Pixels", "Bands"):
        table.add_column(heading, justify="right")
    for heading in ("Metres", "Licence", "On disk"):
        table.add_column(heading)
    for row in rows:
        numbers = (len(row["classes"]), row["images"], row["size"], len(row["bands"]))
        table.add_row(
            row["name"],
            row["title"],
            *(f"{number:,}" for number in numbers),
            row["resolution"],
            row["licence"],
            row["on disk"],
        )
    console().print(table)


def _checked(folder: Path, entry: Entry | None) -> dict[str, Any]:
    """Read every image of a folder, or of a data set below it."""
    from rs_otl.datasets import find_duplicates
    from rs_otl.datasets.cached import check_dataset

    source, root = (entry.name, folder) if entry else (str(folder.resolve()), None)
    dataset = check_dataset(source, root, progress=wants_bars())
    duplicates = find_duplicates(dataset)
    counts = None
    if dataset.classes is not None and dataset.labels is not None:
        labels = dataset.labels.tolist()
        counts = {name: labels.count(label) for label, name in enumerate(dataset.classes)}
    return {
        "name": dataset.name,
        "images": len(dataset),
        "classes": counts,
        "bands": list(dataset.spec.bands),
        "units": dataset.spec.units,
        "scale": dataset.spec.scale,
        "missing": dataset.missing,
        "left out": {file.path: file.reason for file in dataset.left_out},
        "duplicates": [list(group) for group in duplicates.groups],
        "conflicting labels": [list(pair) for pair in duplicates.conflicts],
    }


def _print_facts(facts: Mapping[str, Any]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key, _text(value))
    console().print(table)


def _text(value: Any) -> str:
    if not value and value != 0:
        return "none"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return f"{len(value)}: " + ", ".join(
            f"{key} ({what})" if what is not None else key for key, what in value.items()
        )
    if isinstance(value, list) and isinstance(value[0], list):
        return f"{len(value)}: " + "; ".join(" = ".join(group) for group in value)
    return ", ".join(value) if isinstance(value, list) else str(value)
