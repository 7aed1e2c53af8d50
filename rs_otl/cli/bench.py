"""`rs-otl bench`."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rs_otl.cli.options import (
    Json,
    Precision,
    RecipeName,
    Root,
    Set,
    Stride,
    Tile,
    TileImageSize,
    print_json,
)
from rs_otl.errors import InputError

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


class _Kind(StrEnum):
    random = "random"
    correlated = "correlated"


class _DType(StrEnum):
    float32 = "float32"
    bf16 = "bf16"
    fp16 = "fp16"


@bench.command()
def labels(
    rows: Annotated[int, typer.Option(min=2, help="Rows N of made-up outputs.")] = 24_320,
    clusters: Annotated[int, typer.Option(min=2, help="Clusters k.")] = 128,
    kind: Annotated[_Kind, typer.Option(help="Made-up outputs.")] = _Kind.random,
    dtype: Annotated[_DType, typer.Option(help="Their precision.")] = _DType.float32,
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
        typer.Option(help="Labellers, each by its own --method; else all.", show_default=False),
    ] = None,
    rounds: Rounds = 3,
    plot: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of the paper's figures 4 to 7.", show_default=False),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Labellers beside each other: evenness, time in plain passes over the outputs, memory."""
    if (encoder is None) != (on is None):
        raise InputError("--encoder and --on go together: an encoder and the images it looks at")

    from rs_otl.bench import bench_labels, draw_labels, encoder_outputs, labels_text
    from rs_otl.bench.labels import METHODS, made_up_outputs
    from rs_otl.clustering import LABELLERS
    from rs_otl.models import load_encoder
    from rs_otl.runs.paths import run_of

    for name in method or ():
        if name not in LABELLERS:
            raise InputError(f"--method {name}: expected one of {', '.join(LABELLERS)}")
    run = None
    if encoder is None or on is None:
        outputs = made_up_outputs(kind, rows, clusters, dtype)
    else:
        loaded = load_encoder(encoder)
        run = run_of(loaded.path)
        outputs = encoder_outputs(loaded, on, clusters, root)
    found = bench_labels(outputs, method or METHODS, rounds)
    typer.echo(json.dumps([row._asdict() for row in found]) if as_json else labels_text(found))
    if plot:
        has_metrics = run is not None and (run / "metrics.csv").exists()
        for path in draw_labels(outputs, plot, run if has_metrics else None):
            typer.echo(f"written  {path}", err=True)


@bench.command()
def embed(
    encoder: Annotated[
        str, typer.Option(help="As for `rs-otl embed`; of red, green and blue in 8 bits.")
    ] = "timm/tf_efficientnet_lite0",
    pixels: Annotated[int, typer.Option(min=64, help="Side of the made-up scene.")] = 2048,
    plain_pixels: Annotated[
        int,
        typer.Option(min=0, help="Side of the part that the plain way is run on; 0 for none."),
    ] = 1024,
    tile: Tile = None,
    stride: Stride = None,
    image_size: TileImageSize = 64,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Embed a made-up scene; beside it, a part with torchgeo's GridGeoSampler and a DataLoader."""
    from rs_otl.bench.embedding import measure_embed

    found = measure_embed(
        encoder,
        pixels=pixels,
        plain_pixels=plain_pixels,
        tile=tile,
        stride=stride,
        image_size=image_size,
        precision=precision,
        progress=sys.stderr.isatty(),
    )
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found.pixels:,} x {found.pixels:,} pixels, {found.tiles:,} tiles: "
        f"{found.seconds:.1f} s, {found.tiles / found.seconds:.0f} tiles a second, "
        f"{100 * found.encoder_seconds / found.seconds:.0f} % of the time in the encoder, "
        f"at most {found.peak_mib:,.0f} MiB"
    )
    if found.plain_rate:
        typer.echo(
            f"in turn on {plain_pixels:,} x {plain_pixels:,} pixels: "
            f"rs-otl {found.beside_rate:.0f} tiles a second, torchgeo's sampler and a loader "
            f"{found.plain_rate:.0f}: {found.beside_rate / found.plain_rate:.1f} times; embeddings "
            f"alike to a cosine of {found.similarity:.4f}"
        )


def _print(rows: "list[Row]", as_json: bool) -> None:
    from rs_otl.bench import text

    typer.echo(json.dumps([row._asdict() for row in rows]) if as_json else text(rows))
