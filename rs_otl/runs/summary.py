"""What a person and a run's directory are told of the images."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from rs_otl.datasets import CachedDataset, Division
from rs_otl.files import atomic_write

# Files left out that are named on the terminal; all of them stand in imagery.json.
_NAMED = 20


def account(imagery: CachedDataset, division: Division) -> dict[str, Any]:
    """Return what was read, what was not, and which images are identical."""
    return {
        "dataset": imagery.name,
        "images": len(imagery),
        "pixels": hashlib.blake2b(imagery.hashes.tobytes(), digest_size=16).hexdigest(),
        "train": len(division.train),
        "test": len(division.test),
        "left_out": {item.path: item.reason for item in imagery.left_out},
        "missing": imagery.missing,
        "identical": [list(group) for group in division.duplicates.groups],
        "conflicting_labels": [list(pair) for pair in division.duplicates.conflicts],
        "test_images_also_in_training": division.duplicates.leaks,
    }


def tell(imagery: CachedDataset, division: Division) -> None:
    """Say on stderr what the images are and what is odd about them."""
    lines = [
        f"{imagery.name}: {len(imagery):,} images, {len(division.train):,} to train on, "
        f"{len(division.test):,} to test on"
    ]
    if imagery.missing:
        lines.append(f"a partial copy: {imagery.missing}")
    if imagery.left_out:
        lines.append(f"left out {len(imagery.left_out):,}:")
        lines += [f"  {item.path}: {item.reason}" for item in imagery.left_out[:_NAMED]]
        if len(imagery.left_out) > _NAMED:
            lines.append(f"  and {len(imagery.left_out) - _NAMED:,} more, see imagery.json")
    duplicates = division.duplicates
    if duplicates.groups:
        lines.append(
            f"{len(duplicates.groups):,} groups of identical images; {duplicates.leaks:,} test "
            "images have an identical one in training"
        )
    lines += [f"  identical but labelled apart: {a} and {b}" for a, b in duplicates.conflicts]
    print("\n".join(lines), file=sys.stderr)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, aside and renamed into place."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n")
