"""`rs-otl recipes`."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from rs_otl.cli.options import Json, console
from rs_otl.recipe import recipe_keys, recipe_summary, shipped_recipes


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="Show the keys of this recipe: a name or a YAML file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that come with rs-otl, or the keys of one: values, bounds, meaning."""
    if name is None:
        summaries = {name: recipe_summary(path) for name, path in shipped_recipes().items()}
        if as_json:
            typer.echo(json.dumps(summaries, indent=2))
            return
        _print(["Recipe", "What for"], summaries.items())
        return
    keys = recipe_keys(name)
    if as_json:
        typer.echo(json.dumps([key._asdict() for key in keys], indent=2))
        return
    _print(
        ["Key", "Value", "Allowed", "Meaning"],
        [(key.name, _text(key.value), key.allowed, key.meaning) for key in keys],
    )


def _print(headings: list[str], rows: Any) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("Recipe", "Key"), overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _text(value: Any) -> str:
    """Write a value as YAML would."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
