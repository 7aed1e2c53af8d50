"""Decoding and views in images a second, compared with the paper's PIL pipeline and kornia.

``python benchmarks/augment.py hmhr --images 32 --rounds 3``
"""

import functools
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from kornia import augmentation as kornia
from pil_pipeline import PaperImages, decoded
from table import DataSet, Rounds, Row, in_turn, print_rows, run

from rs_otl.augment import augmentation
from rs_otl.augment.views import STRONG_STEPS
from rs_otl.cli.options import Json, Root
from rs_otl.datasets import load_dataset
from rs_otl.datasets._decode import decode
from rs_otl.errors import InputError
from rs_otl.spec import RGB, load_size


def bench_augment(
    dataset: str, size: int, images: int = 64, rounds: int = 5, root: Path | None = None
) -> list[Row]:
    """Compare decoding and views with the paper's PIL pipeline and kornia's RandAugment.

    Args:
        dataset: Name in the catalogue, or a folder, of RGB image files.
        size: Side of a view in pixels.
        images: Images in a batch.
        rounds: Times that each is measured, in turn.
        root: Where data sets lie.

    Returns:
        Rows; ratios are to the PIL pipeline that decodes each time.

    Raises:
        InputError: If the data set has no image files, or other bands than RGB.
    """
    imagery = load_dataset(dataset, load_size(size), root)
    files = rgb_files(imagery, images)
    chosen = range(len(files))
    squares, unit = imagery.uint8_batch(chosen), imagery.images(chosen)
    mean, std = imagery.spec.mean, imagery.spec.std
    simple, strong = (augmentation(kind, size, mean, std, True) for kind in ("simple", "strong"))
    crop = kornia.RandomResizedCrop((size, size), (0.2, 1.0))
    flip = kornia.RandomHorizontalFlip()
    policy = kornia.auto.RandAugment(n=STRONG_STEPS, m=10)
    paper = PaperImages(files, size, 1, mean, std)
    in_memory = PaperImages(files, size, 1, mean, std, images=decoded(files))

    def through(pipeline: PaperImages) -> None:
        for index in range(len(pipeline)):
            pipeline[index]

    contestants: dict[str, Any] = {
        "PIL pipeline of the paper, decoding each time": functools.partial(through, paper),
        "the same without decoding": functools.partial(through, in_memory),
        "decode": lambda: [decode(file) for file in files],
        "decode with Pillow": lambda: decoded(files),
        "strong views, 8-bit": lambda: strong(squares),
        "strong views, float32": lambda: strong(unit),
        "kornia RandAugment, one draw a batch": lambda: policy(flip(crop(unit))),
        "simple views": lambda: simple(squares),
    }
    with torch.no_grad():
        seconds = in_turn(contestants, rounds)
    reference = next(iter(seconds.values()))
    return [
        Row(name, len(files) / taken, None if name.startswith("decode") else reference / taken)
        for name, taken in seconds.items()
    ]


def rgb_files(imagery: Any, limit: int) -> list[Path]:
    """Return at most ``limit`` files of an RGB data set, evenly spaced.

    Raises:
        InputError: If it has no files or other bands.
    """
    step = max(1, len(imagery) // limit)
    folder = Path(getattr(imagery.dataset, "root", None) or "")
    files = [folder / path for path in imagery.paths[::step][:limit]]
    if imagery.spec.bands != RGB or imagery.spec.scale != 255 or not files[0].is_file():
        raise InputError(
            f"{imagery.name}: PIL's pipeline takes 8-bit RGB image files; expected a folder of them"
        )
    return files


def main(
    dataset: DataSet,
    size: Annotated[int, typer.Option(min=16, help="Side of a view in pixels.")] = 224,
    images: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 64,
    rounds: Rounds = 5,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Compare decoding and views with the paper's PIL pipeline and kornia's RandAugment."""
    print_rows(bench_augment(dataset, size, images, rounds, root), as_json)


if __name__ == "__main__":
    run(main)
