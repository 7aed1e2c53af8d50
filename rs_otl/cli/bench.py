"""`rs-otl bench`: this machine's figures, beside the alternatives."""

import sys
from typing import Annotated

import typer

from rs_otl.cli.options import Json, Precision, Stride, Tile, TileImageSize, print_json

bench = typer.Typer(help="Measure on this machine, beside the alternatives.", no_args_is_help=True)


@bench.command("embed")
def bench_embed(
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
    from rs_otl.geo.throughput import measure_embed

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
