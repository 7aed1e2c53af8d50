"""`rs-otl bench`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.help import Command, Group
from rs_otl.cli.options import Json, RecipeName, Root, Set, console
from rs_otl.datasets.remote import dataset_name
from rs_otl.errors import InputError, note, wants_bars
from rs_otl.files import RUNS

bench = typer.Typer(
    help="Compare methods on this machine.",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
)
Rounds = Annotated[int, typer.Option(min=1, help="Times that each method is measured.")]


class _Kind(StrEnum):
    random = "random"
    correlated = "correlated"


class _DType(StrEnum):
    float32 = "float32"
    bf16 = "bf16"
    fp16 = "fp16"


class _Budget(StrEnum):
    passes = "passes"
    time = "time"


@bench.command(cls=Command)
def labels(
    rows: Annotated[int, typer.Option(min=2, help="Rows N of made-up outputs.")] = 24_320,
    clusters: Annotated[int, typer.Option(min=2, help="Clusters k.")] = 128,
    kind: Annotated[_Kind, typer.Option(help="Made-up outputs.")] = _Kind.random,
    dtype: Annotated[
        _DType, typer.Option(help="Precision of the made-up outputs.")
    ] = _DType.float32,
    encoder: Annotated[
        str | None,
        typer.Option(help="Take the outputs of this encoder instead, on --on.", show_default=False),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(help="Data set of the catalogue, or a folder.", show_default=False),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method to compare; repeat for several. Default: all.", show_default=False
        ),
    ] = None,
    rounds: Rounds = 3,
    plot: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of the paper's figures 4 to 7.", show_default=False),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Compare labelling methods: evenness, time in plain passes over the outputs, memory."""
    if (encoder is None) != (on is None):
        raise InputError("--encoder and --on go together: an encoder and the images it looks at")

    from rs_otl.bench import bench_labels, draw_labels, encoder_outputs, labels_text
    from rs_otl.bench.labels import COMPARED, made_up_outputs
    from rs_otl.clustering import METHODS
    from rs_otl.models import load_encoder
    from rs_otl.runs.paths import run_of
    from rs_otl.trainers import read_metrics

    for name in method or ():
        if name not in METHODS:
            raise InputError(f"--method {name}: expected one of {', '.join(METHODS)}")
    run = None
    if encoder is None or on is None:
        outputs = made_up_outputs(kind, rows, clusters, dtype)
    else:
        loaded = load_encoder(encoder)
        run = run_of(loaded.path)
        outputs = encoder_outputs(loaded, on, clusters, root)
    compared = bench_labels(outputs, method or COMPARED, rounds)
    typer.echo(
        json.dumps([row._asdict() for row in compared]) if as_json else labels_text(compared)
    )
    if plot:
        has_metrics = run is not None and any("std" in epoch for epoch in read_metrics(run))
        for path in draw_labels(outputs, plot, run if has_metrics else None):
            note(f"written  {path}")


@bench.command(cls=Command)
def methods(
    dataset: Annotated[str, typer.Argument(help="Data set with labels, to train and judge on.")],
    methods: Annotated[
        str | None,
        typer.Option(help="Methods, separated by commas. Default: all.", show_default=False),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="A further data set to judge on; repeat for several.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each method.")] = 3,
    budget: Annotated[
        _Budget, typer.Option(help="Equal passes over the images, or equal time.")
    ] = _Budget.passes,
    sweep: Annotated[
        str,
        typer.Option(help="Factors of each method's learning rate to try first, such as 0.5,1,2."),
    ] = "",
    recipe: RecipeName = None,
    set_: Set = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; default runs/methods/DATASET-BUDGET."),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Race OTL against other methods: same encoder, views, batches, images and evaluation."""
    from rs_otl.bench.methods import METHODS, race, race_table, write_race
    from rs_otl.recipe import recipe_for

    try:
        factors = [float(factor) for factor in sweep.split(",") if factor]
    except ValueError:
        factors = [0.0]
    if not all(1e-3 <= factor <= 1e3 for factor in factors):
        raise InputError(f"--sweep {sweep}: expected numbers from 0.001 to 1000, such as 0.5,1,2")
    chosen, _ = recipe_for(dataset, recipe or "otl", set_ or ())
    folder = out or RUNS / "methods" / f"{dataset_name(chosen.dataset)}-{budget.value}"
    results = race(
        chosen,
        list(dict.fromkeys(methods.split(","))) if methods else list(METHODS),
        folder,
        also=also or (),
        seeds=seeds,
        budget=budget.value,
        sweep=factors,
        root=root,
        progress=wants_bars(),
    )
    datasets = list(dict.fromkeys([chosen.dataset, *(also or ())]))
    if as_json:
        typer.echo(json.dumps([result.model_dump() for result in results]))
    else:
        for name in datasets:
            console().print(race_table(results, name))
    for path in write_race(results, datasets, folder):
        note(f"written  {path}")
