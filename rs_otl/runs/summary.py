"""What a run prints about its images, and writes into its directory."""

import hashlib
import shlex
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rs_otl.datasets import CachedDataset, Division, SceneTiles
from rs_otl.datasets.remote import is_address
from rs_otl.datasets.scenes import scene_paths
from rs_otl.datasets.sources import is_stac
from rs_otl.errors import counted, note
from rs_otl.runs.records import own_recipe, read_json

# Images to name on the terminal at most; imagery.json names all.
_NAMED = 20


class Imagery(BaseModel):
    """What was read, what was left out, and which images are identical: ``imagery.json``.

    Attributes:
        dataset: Name of the data set.
        images: Number of usable images.
        scenes: Whether they are tiles of scenes.
        classes: Class names; ``None`` without labels.
        pixels: Hash of all pixels.
        train: Number of images to train on.
        test: Number of images to test on.
        left_out: Reasons by path.
        missing: What a partial copy lacks.
        identical: Groups of paths of identical images.
        conflicting_labels: Pairs of identical images with different labels.
        test_images_also_in_training: Test images with an identical one in training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    images: int
    scenes: bool
    classes: tuple[str, ...] | None
    pixels: str
    train: int
    test: int
    left_out: dict[str, str]
    missing: str | None
    identical: tuple[tuple[str, ...], ...]
    conflicting_labels: tuple[tuple[str, str], ...]
    test_images_also_in_training: int

    def same_as(self, other: "Imagery") -> bool:
        """Compare as they are written: JSON cannot hold file names that are not Unicode."""
        return self.model_dump_json() == other.model_dump_json()


def summarise_images(dataset: CachedDataset, division: Division) -> Imagery:
    """Return what was read, what was left out, and which images are identical."""
    return Imagery(
        dataset=dataset.name,
        images=len(dataset),
        scenes=isinstance(dataset.dataset, SceneTiles),
        classes=None if dataset.labels is None else tuple(dataset.classes or ()),
        pixels=hashlib.blake2b(dataset.hashes.tobytes(), digest_size=16).hexdigest(),
        train=len(division.train),
        test=len(division.test),
        left_out={item.path: item.reason for item in dataset.left_out},
        missing=dataset.missing,
        identical=tuple(tuple(group) for group in division.duplicates.groups),
        conflicting_labels=tuple((first, other) for first, other in division.duplicates.conflicts),
        test_images_also_in_training=division.duplicates.leaks,
    )


def read_imagery(directory: Path) -> Imagery:
    """Read the ``imagery.json`` of a run, or raise an :class:`InputError`."""
    return read_json(Imagery, directory / "imagery.json", "start another run with --out DIR")


def print_images(dataset: CachedDataset, division: Division) -> None:
    """Print on stderr what the images are and what is unusual about them."""
    lines = [
        f"{dataset.name}: {len(dataset):,} images, {len(division.train):,} to train on, "
        f"{len(division.test):,} to test on"
    ]
    if dataset.missing:
        lines.append(f"a partial copy: {dataset.missing}")
    if dataset.left_out:
        lines.append(f"left out {len(dataset.left_out):,}:")
        lines += [f"  {item.path}: {item.reason}" for item in dataset.left_out[:_NAMED]]
        if len(dataset.left_out) > _NAMED:
            lines.append(f"  and {len(dataset.left_out) - _NAMED:,} more, see imagery.json")
    duplicates = division.duplicates
    if duplicates.groups:
        lines.append(
            f"{counted(len(duplicates.groups), 'group')} of identical images; "
            f"{duplicates.leaks:,} test images have an identical one in training"
        )
    lines += [
        f"  identical but with different labels: {a} and {b}"
        for a, b in duplicates.conflicts[:_NAMED]
    ]
    if len(duplicates.conflicts) > _NAMED:
        lines.append(f"  and {len(duplicates.conflicts) - _NAMED:,} more, see imagery.json")
    for line in lines:
        note(line)


def next_command(directory: Path, dataset: str, root: Path | None = None) -> str:
    """Return the shell command to use a finished run with.

    Args:
        directory: The run's directory.
        dataset: The data set as the user named it.
        root: Where data sets lie, if the user has named it.
    """
    images = read_imagery(directory)
    run = str(directory)
    if images.classes:
        words = ["evaluate", run, "--on", dataset, *(["--root", str(root)] if root else [])]
    elif images.scenes:
        scene, out = dataset, f"{run}/embeddings"  # a file for each scene of a catalog
        if Path(dataset).is_dir():
            scene = str(Path(dataset, scene_paths(Path(dataset))[0]))
        if not (is_address(dataset) or is_stac(dataset)):
            out += ".tif"
        words = ["embed", scene, "--encoder", run, "-o", out]
        recipe = own_recipe(directory)
        if recipe.bands is not None:
            words += ["--bands", ",".join(recipe.bands)]
        for option in ("scale", "offset", "units"):  # read the same files as in training
            if (value := getattr(recipe, option)) is not None:
                words += [f"--{option}", str(value)]
    else:
        words = ["export", run, "--to", f"{run}/exported"]
    return shlex.join(["rs-otl", *words])
