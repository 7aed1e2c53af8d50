"""Draw the augmentations of an image file."""

from pathlib import Path

import torch

from rs_otl.augment import operations_gallery
from rs_otl.datasets import read_image
from rs_otl.files import atomic_write, refuse_output
from rs_otl.spec import load_size


def draw_views(path: Path, output: Path, image_size: int) -> None:
    """Draw every augmentation of one image.

    Args:
        path: An image file.
        output: PNG to write.
        image_size: Side of a view in pixels.

    Raises:
        InputError: If the image cannot be read or ``output`` exists.
    """
    refuse_output(output)
    image = read_image(path, load_size(image_size))
    torch.manual_seed(0)
    figure = operations_gallery(image, image_size, rgb=len(image) == 3)
    with atomic_write(output) as aside:
        figure.savefig(aside, format="png", dpi=100)
