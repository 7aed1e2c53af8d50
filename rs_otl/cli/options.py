"""Options that several commands share."""

import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rs_otl.errors import InputError
from rs_otl.spec import Quantity, Values, validated

if TYPE_CHECKING:  # importing it takes seconds
    from rs_otl.evaluation import EvaluationReport
    from rs_otl.runs.planning import Plan

# Line width if the output is not a terminal.
_PIPE_WIDTH = 200

Root = Annotated[
    Path | None,
    typer.Option(help="Folder of data sets. Default: $RS_OTL_DATA, or ./data.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
Division = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=2**31 - 1,
        help="Number of the random 80/20 division. Default: that of the run, or 1.",
        show_default=False,
    ),
]
KeepDuplicatesTogether = Annotated[
    bool | None,
    typer.Option(
        help="Keep identical images on one side of the division. Default: as in the run, or yes.",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="Recipe: a YAML file or a name. Default: pretrain/DATASET if it exists, or quick.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the recipe; `rs-otl recipes quick` lists the keys.",
    ),
]
Shots = Annotated[
    str | None,
    typer.Option(
        metavar="K,K,...",
        help="Also few-shot scores, with K labelled images per class, for example 1,5,10,20.",
        show_default=False,
    ),
]


Download = Annotated[
    bool,
    typer.Option("--download", help="Fetch what is not on this disk yet, checksum verified."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be read and written, how long it takes and how much memory it needs; "
        "do nothing.",
    ),
]
Accelerator = Annotated[str, typer.Option(help="Where to train: auto, cpu, gpu or mps.")]


def overridden(
    set_: list[str] | None,
    init: str | None,
    division: int | None,
    keep_duplicates_together: bool | None,
    supervised: bool,
) -> list[str]:
    """Return the options that set a recipe's keys as ``key=value`` texts."""
    changes = list(set_ or ())
    if init is not None:
        # Quoted, since YAML reads a path such as "a: b" or "a #1" as something else.
        named = json.dumps(init, ensure_ascii=False)
        changes.append(f"init={'null' if init == 'none' else named}")
    if division is not None:
        changes.append(f"division={division}")
    if keep_duplicates_together is not None:
        changes.append(f"keep_duplicates_together={keep_duplicates_together}")
    if supervised:
        changes.append("supervised=true")
    return changes


def check_devices(devices: str) -> None:
    """Refuse what is neither a number of devices nor ``auto``."""
    if devices != "auto" and not re.fullmatch("[1-9][0-9]{0,3}", devices):
        raise InputError(f"--devices {devices}: expected a number or auto")


def print_plan(planned: "Plan", as_json: bool) -> None:
    """Print what a run would do, for a person or a machine."""
    if as_json:
        print_json(planned)
        return
    from rs_otl.memory import GIB
    from rs_otl.progress import time_in_words

    where = f" in {planned.folder}" if planned.folder else ""
    typer.echo(f"reads    {planned.images:,} images of {planned.reads}{where}")
    for directory in planned.writes:
        typer.echo(f"writes   {directory}")
    typer.echo(f"takes    about {time_in_words(planned.seconds)}")
    memory = f"{planned.memory / GIB:.1f} GiB"
    typer.echo(f"memory   {memory} at least, beside the program and its images")


def parsed_shots(shots: str | None) -> tuple[int, ...]:
    """Return the numbers of ``1,5,10``; refuse anything else."""
    try:
        numbers = tuple(sorted({int(part) for part in shots.split(",")})) if shots else ()
    except ValueError:
        numbers = (0,)
    if numbers and numbers[0] < 1:
        raise InputError(f"--shots {shots}: expected numbers of at least 1, such as 1,5,10,20")
    return numbers


def print_report(report: "EvaluationReport", directory: Path, as_json: bool) -> None:
    """Print an evaluation for a person, or for a machine."""
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        report.table(console(markup=True))
        typer.echo(f"written  {directory}")


def print_next(*words: str | Path) -> None:
    """Print a command to go on with, as it is typed into a shell."""
    typer.echo(f"next     rs-otl {shlex.join(map(str, words))}")


ENCODER_HELP = (
    "A run, an encoder directory, a checkpoint file, a data set pretrained on before, timm/NAME, "
    "or the name of torchgeo weights."
)
SCENES_HELP = (
    "Georeferenced rasters, such as GeoTIFFs, on this disk or a server (https://, s3://, "
    "/vsi...); satellites' products; STAC items, catalogs and searches."
)
Asset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="Assets of STAC items to take. Default: those that are bands.",
        show_default=False,
    ),
]
SceneEncoder = Annotated[
    str | None,
    typer.Option(help=f"{ENCODER_HELP} Not needed for embeddings.", show_default=False),
]
Embeddings = Annotated[
    Path,
    typer.Argument(
        help="The GeoTIFF that `rs-otl embed` made of a scene, or ARCHIVE/blocks/SCENE."
    ),
]
LabelField = Annotated[
    str | None,
    typer.Option(
        help="Attribute that holds the class. Default: the only one, `class` or `label`.",
        show_default=False,
    ),
]
LabelLayer = Annotated[
    str | None,
    typer.Option(help="Layer of the labels, where their file has several.", show_default=False),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Side of a tile in pixels of the scene. Default: the side at which the encoder's "
        "images are loaded, 256 for 224.",
        show_default=False,
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Pixels from one tile to the next, one pixel of the output. Default: half a tile.",
        show_default=False,
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        metavar="BAND,...",
        help="The scene's bands for the encoder, by number from 1 or name, in the encoder's order. "
        "Default: matched by name.",
        show_default=False,
    ),
]
FolderBands = Annotated[
    str | None,
    typer.Option(
        "--bands",
        metavar="BAND,...",
        help="Bands of a folder's images to use, by number from 1 or name, in this order; where "
        "files name no bands, names for all of them. Default: all.",
        show_default=False,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="Factor that stored values are multiplied with. Default: what files say.",
        show_default=False,
    ),
]
Offset = Annotated[
    float | None,
    typer.Option(
        help="Number that is added after --scale. Default: what files say.", show_default=False
    ),
]
Units = Annotated[
    Quantity | None,
    typer.Option(
        help="What values measure after --scale and --offset: counts (stored values as they are), "
        "toa or surface (top-of-atmosphere or surface reflectance), radiance, or db (backscatter). "
        "Default: what files say.",
        show_default=False,
    ),
]
Nodata = Annotated[
    float | None,
    typer.Option(
        help="Value that means there is no data where all bands have it, besides what the scene "
        "says.",
        show_default=False,
    ),
]
TileImageSize = Annotated[
    int | None,
    typer.Option(
        min=16,
        max=4096,
        help="Side that tiles are resized to. Default: the encoder's.",
        show_default=False,
    ),
]
Pool = Annotated[
    str | None,
    typer.Option(
        metavar="cls|mean",
        help="What features of a vision transformer are made of: cls, its class token, or mean, "
        "the mean of its patches. Default: its own rule.",
        show_default=False,
    ),
]
Precision = Annotated[
    str, typer.Option(help="float32, bf16, or auto: bf16 where the hardware multiplies it.")
]


def given_values(
    scale: float | None, offset: float | None, units: Quantity | None
) -> "Values | None":
    """Return what the options say about stored values; ``None`` if they say nothing."""
    given = {"scale": scale, "offset": offset, "quantity": units}
    if all(value is None for value in given.values()):
        return None
    return validated(Values, given, "--scale, --offset, --units")


def with_assets(scenes: list[str], asset: str | None) -> list[str]:
    """Add the names of the assets to take to each scene, as the readers of scenes expect."""
    return scenes if asset is None else [f"{scene}#asset={asset}" for scene in scenes]


def listed(names: str | None) -> list[str] | None:
    """Return the parts of ``a,b,c``."""
    return None if names is None else [name.strip() for name in names.split(",")]


def console(markup: bool = False) -> Console:
    """Return a console for tables on stdout; by default it does not read texts as rich's markup."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, markup=markup, highlight=False)


def print_json(results: object) -> None:
    """Print dataclasses for a machine."""
    typer.echo(json.dumps(results, default=_plain))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
