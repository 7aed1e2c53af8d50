"""`rs-otl evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import (
    Division,
    Download,
    FolderBands,
    Json,
    KeepDuplicatesTogether,
    Offset,
    Pool,
    Root,
    Scale,
    Shots,
    Units,
    given_values,
    listed,
    parsed_shots,
    print_next,
    print_report,
)
from rs_otl.errors import wants_bars


def evaluate(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Encoders, each a run, an encoder directory, a checkpoint file, a data set "
            "pretrained on before, timm/NAME, or the name of torchgeo weights."
        ),
    ],
    on: Annotated[str, typer.Option(help="Data set of the catalogue, or a folder of classes.")],
    shots: Shots = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Probe every stage of the encoders by a linear classifier."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where evaluation.json is written. By default the run, or runs/evaluate/DATASET "
            "for several encoders.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            help="Side of the images that encoders see. By default each encoder's own, and the "
            "first one's for weights by name.",
            show_default=False,
        ),
    ] = None,
    pool: Pool = None,
    bands: FolderBands = None,
    scale: Scale = None,
    offset: Offset = None,
    units: Units = None,
    division: Division = None,
    keep_duplicates_together: KeepDuplicatesTogether = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything random.")] = 0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an evaluation that is there, for example to add --shots. Features are "
            "not computed again.",
        ),
    ] = False,
    download: Download = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Evaluate encoders by kNN, linear and few-shot accuracy, beside an untrained one."""
    wanted = parsed_shots(shots)

    from rs_otl.cli.fetching import ensure_images

    ensure_images(on, root, download, sources)

    from rs_otl.runs import evaluate_encoders

    report, directory = evaluate_encoders(
        sources,
        on,
        root,
        out,
        division,
        keep_duplicates_together,
        shots=wanted,
        layers=layers,
        image_size=image_size,
        pool=pool,
        seed=seed,
        overwrite=overwrite,
        progress=wants_bars(),
        values=given_values(scale, offset, units),
        bands=listed(bands),
    )
    print_report(report, directory, as_json)
    if not as_json and len(sources) == 1 and Path(sources[0]).is_dir():
        print_next("export", sources[0], "--to", directory / "exported")
