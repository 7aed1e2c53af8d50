"""`rs-otl bench`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from rs_otl.cli.options import Json, RecipeName, Root, Set

if TYPE_CHECKING:  # importing it takes seconds
    from rs_otl.bench import Row

bench = typer.Typer(
    help="This machine's figures, beside those of the alternatives, measured in turn.",
    no_args_is_help=True,
)
Rounds = Annotated[int, typer.Option(min=1, help="Times that each is measured, in turn.")]
DataSet = Annotated[str, typer.Argument(help="Data set of the catalogue, or a folder, of RGB.")]


@bench.command()
def augment(
    dataset: DataSet,
    size: Annotated[int, typer.Option(min=16, help="Side of a view in pixels.")] = 224,
    images: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 64,
    rounds: Rounds = 5,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Decoding and views, beside the paper's PIL pipeline and kornia's RandAugment."""
    from rs_otl.bench import bench_augment

    _print(bench_augment(dataset, size, images, rounds, root), as_json)


@bench.command()
def pretrain(
    dataset: DataSet,
    recipe: RecipeName = "quick",
    set_: Set = None,
    images: Annotated[int, typer.Option(min=2, help="Images of it to take at most.")] = 512,
    rounds: Rounds = 3,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Run a recipe's epoch, beside the paper's pipeline and torchgeo's SimCLRTask."""
    from rs_otl.bench import bench_pretrain
    from rs_otl.recipe import recipe_for

    chosen, _ = recipe_for(dataset, recipe, set_ or [])
    _print(bench_pretrain(chosen, images, rounds, root), as_json)


def _print(rows: "list[Row]", as_json: bool) -> None:
    from rs_otl.bench import text

    typer.echo(json.dumps([row._asdict() for row in rows]) if as_json else text(rows))
