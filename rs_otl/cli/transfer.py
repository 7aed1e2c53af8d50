"""`rs-otl transfer`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import (
    Accelerator,
    Division,
    Download,
    DryRun,
    Json,
    KeepDuplicatesTogether,
    RecipeName,
    Root,
    Set,
    Shots,
    overridden,
    parsed_shots,
    print_plan,
    print_report,
)
from rs_otl.errors import wants_bars


def transfer(
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            help="Encoder to start from: a run, an encoder directory, a checkpoint file, a data "
            "set pretrained on before, timm/NAME, or the name of torchgeo weights.",
        ),
    ],
    to: Annotated[str, typer.Option("--to", help="Data set of the catalogue, or a folder.")],
    recipe: RecipeName = None,
    set_: Set = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Only evaluate, without further training.")
    ] = False,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train with labels instead of OTL.")
    ] = False,
    shots: Shots = None,
    division: Division = None,
    keep_duplicates_together: KeepDuplicatesTogether = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue a stopped transfer, or evaluate a finished one again, for example with "
            "other --shots.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the run. By default runs/transfer/DATASET.", show_default=False
        ),
    ] = None,
    accelerator: Accelerator = "auto",
    download: Download = False,
    dry_run: DryRun = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Train an encoder further on another data set, without labels, and evaluate the gain."""
    from rs_otl.cli.fetching import ensure_images, ensure_source
    from rs_otl.errors import InputError, counted, note
    from rs_otl.recipe import recipe_for

    if frozen and (finetune or recipe or set_ or resume):
        raise InputError("--frozen trains nothing: leave out --finetune, --recipe, --set, --resume")
    overrides = overridden(set_, from_, division, keep_duplicates_together, finetune)
    if resume and (recipe is not None or len(overrides) > 1):  # one is --from
        raise InputError("--resume uses the run's recipe: leave out options that would change it")
    if dry_run and (frozen or resume or download):
        raise InputError(
            "--dry-run plans a new run that trains: leave out --frozen, --resume and --download"
        )
    wanted = parsed_shots(shots)
    progress = wants_bars()
    if not dry_run:
        if not resume:
            ensure_source(from_, to, root, download)
        ensure_images(to, root, download)
    if frozen:
        from rs_otl.runs import evaluate_encoders

        report, directory = evaluate_encoders(
            [from_],
            to,
            root,
            out,
            division,
            keep_duplicates_together,
            shots=wanted,
            progress=progress,
        )
    else:
        chosen, name = recipe_for(to, recipe, overrides)
        note(
            "resuming with the run's recipe"
            if resume
            else f"recipe {name}: {counted(chosen.epochs, 'epoch')}"
        )

        if dry_run:
            from rs_otl.runs import plan

            print_plan(plan(chosen, root, out, accelerator, transfer=True), as_json)
            return

        from rs_otl.runs import transfer as run

        report, directory = run(
            chosen,
            root=root,
            out=out,
            shots=wanted,
            resume=resume,
            progress=progress,
            accelerator=accelerator,
        )
    print_report(report, directory, as_json)
