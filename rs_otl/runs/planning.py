"""What a run would read and write, and how long it would take, without running it."""

from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch.utils.data import Dataset

from rs_otl.datasets import CATALOGUE, data_root
from rs_otl.datasets.base import ImageDataset
from rs_otl.datasets.cached import open_images
from rs_otl.datasets.catalogue import base_name
from rs_otl.datasets.datamodule import without_labels
from rs_otl.datasets.divisions import too_few
from rs_otl.errors import InputError
from rs_otl.models import Encoder, load_encoder, resolve_precision
from rs_otl.models.encoder import accelerator_device
from rs_otl.recipe import Recipe
from rs_otl.runs.duration import run_seconds
from rs_otl.runs.memory import estimate, refuse_too_much
from rs_otl.runs.paths import run_directory
from rs_otl.runs.pretraining import (
    describe,
    make_task,
    refuse_another_run,
    refuse_no_gpu,
    refuse_secrets,
)
from rs_otl.spec import RGB, ImageSpec, load_size


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        reads: Data set.
        images: Number of its images, including those that cannot be used.
        folder: Where they lie; empty if they are drawn.
        writes: Directories of the runs.
        seconds: About how long training takes.
        memory: Bytes that training keeps at least, besides the program and its images.
    """

    reads: str
    images: int
    folder: str
    writes: tuple[str, ...]
    seconds: float
    memory: int


class _Images(NamedTuple):
    name: str
    spec: ImageSpec
    classes: tuple[str, ...] | None


def plan(
    recipe: Recipe,
    root: str | Path | None = None,
    out: str | Path | None = None,
    accelerator: str = "auto",
    transfer: bool = False,
) -> Plan:
    """Say what a run would do; nothing is written, and no image is decoded.

    Args:
        recipe: As for :func:`rs_otl.runs.pretrain`, or :func:`rs_otl.runs.transfer`.
        root: As for these functions.
        out: As for these functions.
        accelerator: As for these functions.
        transfer: Whether to plan a transfer instead of a pretraining.

    Raises:
        InputError: If the run would be refused because of its directory, its images, the weights
            to start from, or the memory that it needs.
    """
    refuse_secrets(recipe.dataset)
    kind = "transfer" if transfer else "supervised" if recipe.supervised else "pretrain"
    directory = Path(out) if out else run_directory(kind, recipe.dataset)
    refuse_another_run(directory)
    device = accelerator_device(accelerator)
    recipe = recipe.model_copy(update={"precision": resolve_precision(recipe.precision, device)})
    refuse_no_gpu(recipe, device)
    started = None
    if recipe.init is not None:
        started = load_encoder(recipe.init, image_size=recipe.image_size, pool=recipe.pool)
        if transfer:
            recipe = recipe.model_copy(update={"encoder": started.config.encoder})
    entry = CATALOGUE.get(base_name(recipe.dataset))
    if entry and entry.folders and entry.layout(data_root(root)) is None:
        raise InputError(entry.not_found(data_root(root)))  # opening might unpack an archive
    dataset = list_images(recipe, root, started, labelled=transfer or recipe.supervised)
    images = len(cast(Sized, dataset))
    train = round(0.8 * images)
    # Other data sets say what an image is only when they read it.
    info = dataset.info if isinstance(dataset, ImageDataset) else None
    bands = len(info.bands if info else RGB)
    refuse_too_much(recipe, bands, images // 2, device=device)
    if isinstance(dataset, ImageDataset):
        facts = _Images(dataset.name, dataset.info.spec(), tuple(dataset.classes) or None)
        if images < 2:
            raise too_few(facts.name, images)
        config, _ = describe(recipe, facts, started)
        # Making the task refuses keys that do not go together; no weights are made.
        with torch.device("meta"):
            make_task(recipe, config, facts, train)
    seconds = run_seconds(recipe, train, bands, device)
    writes = [directory]
    if transfer and not recipe.supervised:
        labelled = recipe.model_copy(update={"supervised": True})
        seconds += run_seconds(labelled, train, bands, device)
        writes.append(directory / "supervised")
    return Plan(
        reads=recipe.dataset,
        images=images,
        folder=str(getattr(dataset, "root", "")),
        writes=tuple(map(str, writes)),
        seconds=seconds,
        memory=estimate(recipe, bands, train).total,
    )


def list_images(
    recipe: Recipe, root: str | Path | None, started: Encoder | None, labelled: bool = False
) -> Dataset[Any]:
    """List the images that a recipe names, without decoding them.

    Args:
        recipe: The recipe.
        root: Where data sets lie.
        started: The encoder to start from. Images that measure the same are scaled like its images.
        labelled: Whether labels are needed.

    Raises:
        InputError: If there are no such images, or no labels although they are needed.
    """
    images = open_images(
        recipe.dataset,
        load_size(recipe.image_size),
        root,
        progress=False,
        values=recipe.values,
        bands=recipe.bands,
        like=None if started is None else started.config.spec,
    )
    if labelled and isinstance(images, ImageDataset) and not images.classes:
        raise without_labels(images.name)
    return images
