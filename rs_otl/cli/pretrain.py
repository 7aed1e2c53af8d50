"""`rs-otl pretrain`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Division, Json, KeepDuplicatesTogether, Root


def pretrain(
    dataset: Annotated[str, typer.Argument(help="Data set of the catalogue, or a folder.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe: a YAML file or a name; else pretrain/DATASET where there is one, "
            "else quick.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a run, an encoder directory, a data set pretrained on "
            "before, or none.",
            show_default=False,
        ),
    ] = None,
    division: Division = None,
    keep_duplicates_together: KeepDuplicatesTogether = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="The run's directory; else runs/pretrain/DATASET.", show_default=False),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Train an encoder on imagery, without labels."""
    from rs_otl.errors import InputError
    from rs_otl.recipe import recipe_for

    overrides = list(set_ or ())
    if init:
        overrides.append("init=null" if init == "none" else f"init={init}")
    if division:
        overrides.append(f"division={division}")
    if keep_duplicates_together is not None:
        overrides.append(f"keep_duplicates_together={keep_duplicates_together}")
    if resume and (recipe or overrides):
        raise InputError(
            "--resume goes on with the run's own recipe: leave out what would change it"
        )
    chosen, name = recipe_for(dataset, recipe, overrides)
    typer.echo(
        "resuming with the run's recipe" if resume else f"recipe {name}: {chosen.epochs} epochs",
        err=True,
    )

    from rs_otl.runs import pretrain as run

    directory = run(chosen, root, out, resume, progress=sys.stderr.isatty())
    if as_json:
        typer.echo(json.dumps({"run": str(directory), "encoder": str(directory / "encoder")}))
    else:
        typer.echo(f"run      {directory}")
        typer.echo(f"encoder  {directory / 'encoder'}")
        typer.echo(f"next     rs-otl evaluate {directory} --on {dataset}")
