"""Where runs lie, and which of them a name means."""

import os
import sys
from pathlib import Path

import yaml

from rs_otl.errors import InputError
from rs_otl.models import is_foreign

RUNS = Path("runs")


def run_directory(command: str, dataset: str) -> Path:
    """Return ``runs/COMMAND/DATASET``; a folder's name stands for a folder of images."""
    return RUNS / command / Path(dataset).resolve().name


def find_source(source: str) -> str | Path:
    """Find the encoder that a person names.

    A data set's name means the latest finished run on it, trained without labels, below
    ``runs/``; which one is said on stderr.

    Args:
        source: An encoder directory, a run, a checkpoint file, the name of a data set
            pretrained on before, ``timm/NAME`` or the name of torchgeo weights.

    Returns:
        What :func:`rs_otl.models.open_encoder` opens: a path, or the name of others' weights.

    Raises:
        InputError: If there is none, saying where it was looked for.
    """
    if is_foreign(source):
        return source
    path = Path(source)
    if path.is_file():
        return path
    candidates = [path, path / "encoder"]
    for candidate in candidates:
        if (candidate / "model.safetensors").is_file():
            return candidate
    finished = _finished_runs(path.resolve().name if "/" in source else source)
    if finished:
        latest = max(finished, key=lambda run: os.stat(run / "encoder").st_mtime)
        print(f"{source}: taking its latest run, {latest}", file=sys.stderr)
        return latest / "encoder"
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InputError(
        f"encoder {source!r}: nothing at {looked}, and no finished run on a data set of that "
        f"name below {RUNS}/; expected a run, an encoder directory, a checkpoint file, "
        "timm/NAME or a data set pretrained on before (`rs-otl pretrain NAME`); --init none "
        "starts from random weights"
    )


def run_of(source: str | Path) -> Path | None:
    """Return the run that an encoder directory is of, or itself; none for what is no directory."""
    if not isinstance(source, Path) or source.is_file():
        return None
    return source.parent if source.name == "encoder" else source


def _finished_runs(dataset: str) -> list[Path]:
    """Return the runs below ``runs/`` that have an encoder of that data set made without labels."""
    found = []
    for path in RUNS.glob("*/*/recipe.yaml"):
        recipe = yaml.safe_load(path.read_text())
        named = isinstance(recipe, dict) and Path(str(recipe.get("dataset"))).name == dataset
        if named and not recipe.get("supervised") and (path.parent / "encoder").is_dir():
            found.append(path.parent)
    return found
