"""What a run says about its images, on the terminal and in its directory."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rs_otl.datasets import CachedDataset, Division, SceneTiles
from rs_otl.errors import note
from rs_otl.files import atomic_write

# Left-out images that are named on the terminal; imagery.json names all.
_NAMED = 20


def summarise_images(dataset: CachedDataset, division: Division) -> dict[str, Any]:
    """Return what was read, what was left out, and which images are identical."""
    return {
        "dataset": dataset.name,
        "images": len(dataset),
        "scenes": isinstance(dataset.dataset, SceneTiles),
        "classes": None if dataset.labels is None else list(dataset.classes or ()),
        "pixels": hashlib.blake2b(dataset.hashes.tobytes(), digest_size=16).hexdigest(),
        "train": len(division.train),
        "test": len(division.test),
        "left_out": {item.path: item.reason for item in dataset.left_out},
        "missing": dataset.missing,
        "identical": [list(group) for group in division.duplicates.groups],
        "conflicting_labels": [list(pair) for pair in division.duplicates.conflicts],
        "test_images_also_in_training": division.duplicates.leaks,
    }


def print_images(dataset: CachedDataset, division: Division) -> None:
    """Say on stderr what the images are and what is odd about them."""
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
            f"{len(duplicates.groups):,} groups of identical images; {duplicates.leaks:,} test "
            "images have an identical one in training"
        )
    lines += [
        f"  identical but with different labels: {a} and {b}" for a, b in duplicates.conflicts
    ]
    for line in lines:
        note(line)


def next_command(directory: Path, dataset: str) -> str:
    """Return the command that makes use of a finished run.

    Args:
        directory: The run's directory.
        dataset: The data set as the user named it.
    """
    images = json.loads((directory / "imagery.json").read_text())
    if images["classes"]:
        return f"rs-otl evaluate {directory} --on {dataset}"
    if images["scenes"]:
        return f"rs-otl embed SCENE --encoder {directory} -o embeddings.tif"
    return f"rs-otl export {directory} --to DIR"


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")
