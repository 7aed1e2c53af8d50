"""`rs-otl pretrain`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import (
    Accelerator,
    Asset,
    Division,
    Download,
    DryRun,
    FolderBands,
    Json,
    KeepDuplicatesTogether,
    Offset,
    RecipeName,
    Root,
    Scale,
    Set,
    Units,
    check_devices,
    listed,
    overridden,
    print_plan,
    with_assets,
)
from rs_otl.errors import wants_bars


def pretrain(
    dataset: Annotated[
        str,
        typer.Argument(
            help="Data set of the catalogue, a folder of images or of GeoTIFF scenes, or a STAC "
            "catalog, item collection or search, on this disk or at https://."
        ),
    ],
    recipe: RecipeName = None,
    set_: Set = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a run, an encoder directory, a checkpoint file, "
            "timm/NAME, a data set pretrained on before, or none.",
            show_default=False,
        ),
    ] = None,
    supervised: Annotated[
        bool,
        typer.Option(
            "--supervised", help="Train with the labels: the paper's baseline to compare with."
        ),
    ] = False,
    asset: Asset = None,
    bands: FolderBands = None,
    scale: Scale = None,
    offset: Offset = None,
    units: Units = None,
    division: Division = None,
    keep_duplicates_together: KeepDuplicatesTogether = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's directory; by default runs/pretrain/DATASET, or runs/supervised/...",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            help="Where decoded images are kept: auto, ram, gpu, disk or none. Default: as the "
            "recipe.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        str, typer.Option(help="Processes on each machine, one per device; auto for all devices.")
    ] = "1",
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's strategy, such as ddp.")] = "auto",
    accelerator: Accelerator = "auto",
    logger: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Also log with tensorboard, csv, wandb or mlflow, into logs/ of the run.",
            show_default=False,
        ),
    ] = None,
    download: Download = False,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Train an encoder on images, without labels unless --supervised."""
    from rs_otl.cli.fetching import ensure_images
    from rs_otl.errors import InputError, counted, note
    from rs_otl.recipe import recipe_for

    check_devices(devices)
    overrides = overridden(set_, init, division, keep_duplicates_together, supervised)
    if cache is not None:
        overrides.append(f"cache={cache}")
    if bands is not None:
        overrides.append(f"bands={json.dumps(listed(bands))}")
    for key, value in (("scale", scale), ("offset", offset), ("units", units)):
        if value is not None:
            overrides.append(f"{key}={json.dumps(value)}")
    if resume and (recipe is not None or overrides):
        raise InputError("--resume uses the run's recipe: leave out options that would change it")
    if dry_run and (resume or download):
        raise InputError("--dry-run plans a new run: leave out --resume and --download")
    (dataset,) = with_assets([dataset], asset)
    chosen, name = recipe_for(dataset, recipe, overrides)

    from rs_otl.runs import is_first, next_command, plan
    from rs_otl.runs import pretrain as run

    if is_first():
        note(
            "resuming with the run's recipe"
            if resume
            else f"recipe {name}: {counted(chosen.epochs, 'epoch')}"
        )
    if dry_run:
        print_plan(plan(chosen, root, out, accelerator), as_json)
        return
    if download or not resume:  # with --resume, run() first checks that there is a run
        ensure_images(chosen.dataset, root, download)

    directory = run(
        chosen,
        root,
        out,
        resume,
        progress=wants_bars(),
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        accelerator=accelerator,
        loggers=listed(logger) or (),
    )
    if not is_first():
        return
    if as_json:
        typer.echo(json.dumps({"run": str(directory), "encoder": str(directory / "encoder")}))
    else:
        typer.echo(f"run      {directory}")
        typer.echo(f"encoder  {directory / 'encoder'}")
        typer.echo(f"next     {next_command(directory, chosen.dataset, root)}")
