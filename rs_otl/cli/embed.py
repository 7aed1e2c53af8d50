"""`rs-otl embed`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rs_otl.cli.options import (
    ENCODER_HELP,
    SCENES_HELP,
    Asset,
    Bands,
    DryRun,
    Json,
    Nodata,
    Offset,
    Pool,
    Precision,
    Scale,
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
from rs_otl.errors import InputError, complain, wants_bars

if TYPE_CHECKING:  # importing it takes seconds
    from rs_otl.geo.planning import EmbedPlan

# Exit code: some scenes or blocks failed, all others are done.
_SOME_FAILED = 3
_NAMED = 10


def embed(
    scenes: Annotated[list[str], typer.Argument(help=f"{SCENES_HELP} Or an archive.")],
    encoder: Annotated[str | None, typer.Option(help=ENCODER_HELP, show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .tif or .zarr for one scene, a .parquet, or a folder for one GeoTIFF per "
            "scene; must be new. With --plan the archive's folder.",
            show_default=False,
        ),
    ] = None,
    tile: Tile = None,
    stride: Stride = None,
    pca: Annotated[
        int | None,
        typer.Option(
            min=1, help="Principal components to keep; 3 make a picture.", show_default=False
        ),
    ] = None,
    bands: Bands = None,
    asset: Asset = None,
    nodata: Nodata = None,
    scale: Scale = None,
    offset: Offset = None,
    units: Units = None,
    image_size: TileImageSize = None,
    pool: Pool = None,
    precision: Precision = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="Numbers to write: float32, float16, or int8 with a scale for each feature."
        ),
    ] = "float32",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped embedding.")] = False,
    dry_run: DryRun = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Only plan: make or extend an archive, which `embed DIR` embeds."
        ),
    ] = False,
    when: Annotated[
        str | None,
        typer.Option(
            "--datetime",
            metavar="DATE[/DATE]",
            help="Plan only STAC items of this time, such as 2024-05/2024-08 or 2024-05-01/..",
            show_default=False,
        ),
    ] = None,
    bbox: Annotated[
        str | None,
        typer.Option(
            metavar="WEST,SOUTH,EAST,NORTH",
            help="Plan only STAC items that meet this box, in degrees.",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Embed one of N parts of an archive, I from 0 to N - 1.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=1024, help="Processes that embed an archive here.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="Dask scheduler whose workers embed an archive.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Embed scenes: a GeoTIFF or Zarr with one pixel per cell, or GeoParquet with one row per tile.

    Many scenes: --plan makes an archive; `rs-otl embed DIR` embeds it, on many machines if need be,
    and continues after a stop.
    """
    from rs_otl.geo import embed as run
    from rs_otl.geo.joined import is_archive

    settings: dict[str, Any] = {
        "tile": tile,
        "stride": stride,
        "bands": listed(bands),
        "nodata": nodata,
        "values": given_values(scale, offset, units),
        "image_size": image_size,
        "pool": pool,
    }
    named = with_assets(scenes, asset)
    progress = wants_bars()
    if not plan and len(scenes) == 1 and is_archive(scenes[0]):
        fixed = {"encoder": encoder, "output": output, "pca": pca, "asset": asset, **settings}
        fixed["precision"] = None if precision == "auto" else precision
        fixed["dtype"] = None if dtype == "float32" else dtype
        fixed["dry_run"] = dry_run or None
        fixed |= {"datetime": when, "bbox": bbox}
        _refuse(fixed, f"{scenes[0]} is planned already, with all that it depends on")
        _work(Path(scenes[0]), shard, workers, dask, progress, as_json)
        return
    working = {"shard": shard, "dask": dask, "workers": workers if workers > 1 else None}
    _refuse(working, "an archive is planned first (--plan), then embedded (`embed DIR`)")
    if encoder is None or output is None:
        lacking = "--encoder" if encoder is None else "--output (-o)"
        raise InputError(f"embed needs {lacking}, or an archive that --plan has made")
    if plan:
        _refuse({"pca": pca}, "principal components would differ between blocks")
        _refuse({"dry_run": dry_run or None}, "--plan embeds nothing by itself")
        planned = settings | {"precision": precision, "dtype": dtype, "datetime": when}
        _plan(named, encoder, output, planned | {"bbox": bbox}, progress, as_json)
        return
    _refuse({"datetime": when, "bbox": bbox}, "works only with --plan")
    if dry_run:
        from rs_otl.geo.planning import plan_embedding

        how: dict[str, Any] = {"pca": pca, "precision": precision, "dtype": dtype}
        _print_plan(plan_embedding(named, encoder, output, **how, **settings), as_json)
        return
    done = run(
        named,
        encoder,
        output,
        pca=pca,
        precision=precision,
        dtype=dtype,
        resume=resume,
        progress=progress,
        **settings,
    )
    if as_json:
        print_json(done)
        return
    for result in done:
        kept = (
            "" if result.explained is None else f", {100 * result.explained:.1f} % of the variance"
        )
        typer.echo(
            f"{result.path}: {result.cells[0]:,} x {result.cells[1]:,} cells of {result.features} "
            f"features{kept}, {100 * result.nodata:.1f} % nodata; {result.tiles:,} tiles in "
            f"{result.seconds:.1f} s, {100 * result.encoder_seconds / result.seconds:.0f} % in the "
            "encoder"
        )
    if len(done) == 1 and output.suffix == ".tif" and Path(scenes[0]).is_file():
        print_next("view", scenes[0], "--embeddings", output)


def _print_plan(planned: "EmbedPlan", as_json: bool) -> None:
    if as_json:
        print_json(planned)
        return
    from rs_otl.progress import time_in_words

    typer.echo(f"reads    {planned.tiles:,} tiles of {', '.join(planned.scenes)}")
    typer.echo(
        f"writes   {planned.out}: {planned.cells:,} cells of {planned.features:,} features, "
        f"{planned.bytes / 1e6:,.1f} MB, and {planned.temporary_bytes / 1e6:,.1f} MB of temporary "
        "space while writing"
    )
    typer.echo(f"takes    about {time_in_words(planned.seconds)}")


def _refuse(options: Mapping[str, Any], reason: str) -> None:
    """Refuse options that do not go with the others."""
    given = next((name for name, value in options.items() if value is not None), None)
    if given == "values":
        given = "scale, --offset or --units"
    if given is not None:
        raise InputError(f"--{given.replace('_', '-')}: {reason}; leave it out")


def _plan(
    scenes: Sequence[str],
    encoder: str,
    out: Path,
    settings: Mapping[str, Any],
    progress: bool,
    as_json: bool,
) -> None:
    from rs_otl.geo.archive import plan_archive

    done = plan_archive(scenes, encoder, out, progress=progress, **settings)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"{done.path}: {done.scenes:,} scenes in {done.blocks:,} blocks, {done.new:,} scenes "
            f"new, {done.changed:,} changed"
        )
    _exit_by(done.failed, "cannot be embedded")


def _work(
    archive: Path, shard: str | None, workers: int, dask: str | None, progress: bool, as_json: bool
) -> None:
    from rs_otl.geo.archive import FAILED, embed_archive

    done = embed_archive(
        archive, shard=_parts(shard), workers=workers, dask=dask, progress=progress
    )
    if as_json:
        print_json(done)
    elif done.there == done.blocks:
        typer.echo(f"{archive}: all {done.blocks:,} blocks already embedded, nothing to do")
    else:
        typer.echo(
            f"{archive}: {done.made:,} of {done.blocks:,} blocks embedded, {done.there:,} already "
            f"done; {done.tiles:,} tiles in {done.seconds:.1f} s"
        )
    _exit_by(done.failed, f"failed, see {archive / FAILED}")


def _parts(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise InputError(f"--shard {shard}: expected I/N, such as 0/2 and 1/2")
    return int(number), int(count)


def _exit_by(failed: Mapping[str, str], what: str) -> None:
    """Print what has failed, and exit with a special code."""
    if not failed:
        return
    for reason in list(failed.values())[:_NAMED]:
        complain(reason)
    complain(f"rs-otl: {len(failed):,} {what}")
    raise typer.Exit(_SOME_FAILED)
