"""What can be reproduced, what it needs, and how long that takes on this machine."""

from dataclasses import dataclass
from pathlib import Path

from rs_otl.datasets import CATALOGUE, data_root
from rs_otl.reproduce.encoders import (
    check_scale,
    images_of,
    missing_data,
    read_evaluation,
    recipe_of,
    runs_of,
)
from rs_otl.reproduce.labels import LABEL_ENTRIES
from rs_otl.reproduce.published import ENCODER_TABLES, Trained
from rs_otl.runs.duration import run_seconds


@dataclass(frozen=True)
class Entry:
    """A table or figure that can be reproduced.

    Attributes:
        name: Its name, such as ``"table-8"``.
        title: What it shows.
        missing: Data sets that it needs and that are not on this disk.
        runs: Number of encoders that it needs and whose data is at hand.
        finished: How many of these encoders have been made.
        seconds: About how long the others take on this machine; 0 for labels.
    """

    name: str
    title: str
    missing: tuple[str, ...]
    runs: int
    finished: int
    seconds: float


def entries(
    scale: str = "quick",
    out: str | Path = "runs/reproduce",
    root: str | Path | None = None,
    seeds: int = 1,
) -> list[Entry]:
    """List what can be reproduced.

    The time is estimated from a few measured steps.

    Args:
        scale: See :func:`rs_otl.reproduce.reproduce`.
        out: See :func:`rs_otl.reproduce.reproduce`.
        root: See :func:`rs_otl.reproduce.reproduce`.
        seeds: See :func:`rs_otl.reproduce.reproduce`.

    Raises:
        InputError: If there is no such scale, or what ``out`` holds is damaged.
    """
    check_scale(scale)
    folder, data = Path(out) / scale, None if root is None else Path(root)
    listed = []
    counts: dict[str, int] = {}
    for name, table in ENCODER_TABLES.items():
        missing = {
            lacking for column in table.columns for lacking in missing_data(column.trained, data)
        }
        runs = list(dict.fromkeys(runs_of(table, seeds, data)))
        waiting = [run for run in runs if read_evaluation(run, folder) is None]
        seconds = sum(_estimate(run, scale, folder, data, counts) for run in waiting)
        done = len(runs) - len(waiting)
        listed.append(Entry(name, table.title, tuple(sorted(missing)), len(runs), done, seconds))
    listed += [Entry(name, entry.title, (), 0, 0, 0) for name, entry in LABEL_ENTRIES.items()]
    return listed


def _estimate(
    trained: Trained, scale: str, folder: Path, root: Path | None, counts: dict[str, int]
) -> float:
    """Return about how many seconds a run and its scores take."""
    recipe = recipe_of(trained, scale, folder)
    if trained.dataset not in counts:
        counts[trained.dataset] = sum(CATALOGUE[trained.dataset].present(data_root(root)).values())
    images, tests = _sides(trained, scale, counts[trained.dataset])
    # Features need no backward pass and take a third of a step; they are computed twice, after the
    # training and for the table.
    once = recipe.model_copy(update={"supervised": True, "views": 1, "epochs": 1, "chunks": 1})
    scored = run_seconds(once, round(2 * (images + tests) / 3))
    return scored if trained.untrained else run_seconds(recipe, round(images)) + scored


def _sides(trained: Trained, scale: str, images: int) -> tuple[float, float]:
    """Return about how many of the images at hand an encoder is trained on and tested on."""
    entry = CATALOGUE[trained.dataset]
    share = entry.training / entry.images if entry.splits else 0.8
    train, test = share * images, (1 - share) * images
    each = images_of(trained, scale).partition("@")[2]
    return (int(each) * len(entry.classes) if each else train), test
