"""`rs-otl map`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rs_otl.cli.options import (
    SCENES_HELP,
    Asset,
    Bands,
    Json,
    LabelField,
    LabelLayer,
    Nodata,
    Offset,
    Pool,
    Precision,
    Scale,
    SceneEncoder,
    Stride,
    Tile,
    TileImageSize,
    Units,
    given_values,
    listed,
    print_json,
    print_next,
    with_assets,
)
from rs_otl.errors import note, shortened, wants_bars

if TYPE_CHECKING:  # importing it takes seconds
    from rs_otl.geo.mapping import Accuracy, MapResult

_SHOWN = 10


def map_(
    scenes: Annotated[
        list[str],
        typer.Argument(
            help=f"GeoTIFFs or archives that `rs-otl embed` made, or scenes: {SCENES_HELP}"
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="GeoTIFF to write, or a folder for one GeoTIFF per scene; must be new.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labelled points or polygons on the scenes: GeoJSON, GeoPackage, GeoParquet or "
            "CSV.",
            show_default=False,
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="File that --save-classifier wrote, instead of labels.", show_default=False
        ),
    ] = None,
    save_classifier: Annotated[
        Path | None,
        typer.Option(help="Keep the classifier for other scenes, as JSON.", show_default=False),
    ] = None,
    field: LabelField = None,
    layer: LabelLayer = None,
    colors: Annotated[
        Path | None,
        typer.Option(
            help="Colours of the classes, and their order: JSON, a style of QGIS (.qml), or a "
            "GeoPackage with a style.",
            show_default=False,
        ),
    ] = None,
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Also write each map as polygons, a GeoPackage.")
    ] = False,
    areas: Annotated[
        Path | None,
        typer.Option(
            help="CSV to write: cells and hectares by scene and class.", show_default=False
        ),
    ] = None,
    tested_labels: Annotated[
        Path | None,
        typer.Option(
            help="GeoJSON or GeoPackage to write: each label with the class that the others "
            "predict for it.",
            show_default=False,
        ),
    ] = None,
    encoder: SceneEncoder = None,
    tile: Tile = None,
    stride: Stride = None,
    bands: Bands = None,
    asset: Asset = None,
    nodata: Nodata = None,
    scale: Scale = None,
    offset: Offset = None,
    units: Units = None,
    image_size: TileImageSize = None,
    pool: Pool = None,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Map scenes from a handful of labelled places."""
    from rs_otl.geo import map as run

    done = run(
        with_assets(scenes, asset),
        labels,
        output,
        encoder=encoder,
        field=field,
        layer=layer,
        classifier=classifier,
        save_classifier=save_classifier,
        colours=colors,
        areas=areas,
        tested_labels=tested_labels,
        polygons=polygons,
        tile=tile,
        stride=stride,
        bands=listed(bands),
        nodata=nodata,
        values=given_values(scale, offset, units),
        image_size=image_size,
        pool=pool,
        precision=precision,
        progress=wants_bars(),
    )
    for label in done.skipped:
        note(f"skipped {label.name}: {label.reason}")
    if as_json:
        print_json(done)
        return
    _print_classes(done)
    if labels is not None:
        _print_accuracy(done)
    for map_ in done.maps:
        beside = [map_.confidence, map_.path.with_suffix(".qml"), map_.polygons]
        typer.echo(f"written  {', '.join(str(path) for path in [map_.path, *beside] if path)}")
    for path in (save_classifier, areas, tested_labels):
        if path is not None:
            typer.echo(f"written  {path}")
    if encoder is None and len(done.maps) == 1:  # made from embeddings
        page = output.with_suffix(".html")
        print_next("view", scenes[0], "--map", done.maps[0].path, "-o", page)


def _print_classes(done: "MapResult") -> None:
    cells, hectares = done.cells, done.hectares
    with_data = max(sum(cells.values()), 1)
    for name in done.classes:
        line = f"{shortened(name):<24} {100 * cells[name] / with_data:5.1f} % of the cells"
        if hectares is not None:
            line += f", {hectares[name]:,.2f} ha"
        if done.labels:
            line += f", {done.labels[name]:,} labels"
            accuracy = done.accuracies[name]
            if accuracy.low is not None and accuracy.high is not None:
                low, high = 100 * accuracy.low, 100 * accuracy.high
                line += (
                    f", {accuracy.correct} of {accuracy.tested} right ({low:.0f} to {high:.0f} %)"
                )
        typer.echo(line)


def _print_accuracy(done: "MapResult") -> None:
    accuracy = done.accuracy
    if accuracy.low is None or accuracy.high is None:
        typer.echo("no class has two labels: the accuracy cannot be estimated")
        return
    wrong = [label for label in done.tested if label.predicted not in (None, label.given)]
    for label in wrong[:_SHOWN]:
        typer.echo(f"{label.name} looks like {shortened(str(label.predicted))} to the others")
    if len(wrong) > _SHOWN:
        typer.echo(f"and {len(wrong) - _SHOWN:,} more; --tested-labels FILE writes them all")
    typer.echo(f"cross-validation: {_told(accuracy)}")
    if done.blocked.tested:
        typer.echo(f"from other parts of the scene: {_told(done.blocked)}")
    else:
        typer.echo(
            "each class has labels in one part of the scene alone: accuracy elsewhere is unknown"
        )


def _told(accuracy: "Accuracy") -> str:
    assert accuracy.low is not None
    assert accuracy.high is not None
    return (
        f"{accuracy.correct} of {accuracy.tested} labels predicted correctly, "
        f"{100 * accuracy.correct / accuracy.tested:.0f} %, 95 % interval {100 * accuracy.low:.0f} "
        f"to {100 * accuracy.high:.0f} %"
    )
