"""The paper's pipeline, from its description: PIL views, float32, a label pass each epoch.

It is the reference that rs-otl is compared with. PIL opens, decodes and augments an image again
for every view of it.
"""

import random
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from rs_otl.augment.operations import OPERATIONS
from rs_otl.augment.views import HOLE_SIDE, STRONG_STEPS
from rs_otl.clustering import balanced_labels
from rs_otl.spec import load_size
from rs_otl.trainers import label_consistent_loss


class PaperImages(Dataset[tuple[Tensor, int]]):
    """Strong views of image files (section 4.3), one image at a time, in PIL.

    A sample is the stacked views ``(views, 3, size, size)``, float32, normalised, and the
    image's position.

    Args:
        files: Image files.
        size: Side of a view in pixels.
        views: Views of an image.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band.
        images: Decoded images, used instead of reading the files.
    """

    def __init__(
        self,
        files: list[Path],
        size: int,
        views: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        images: list[Image.Image] | None = None,
    ) -> None:
        self.files = files
        self.size = size
        self.views = views
        self.images = images
        self.resized = v2.Resize(load_size(size))
        self.cropped = v2.Compose(
            [v2.RandomResizedCrop(size, (0.2, 1.0)), v2.RandomHorizontalFlip()]
        )
        self.normalised = v2.Compose(
            [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Make the views of an image."""
        return torch.stack([self._view(index) for _ in range(self.views)]), index

    def _view(self, index: int) -> Tensor:
        if self.images is not None:
            image = self.images[index]
        else:
            with Image.open(self.files[index]) as opened:
                image = opened.convert("RGB")
        image = self.cropped(self.resized(image))
        for name in random.choices(list(OPERATIONS), k=STRONG_STEPS):
            image = operate(name, image, random.uniform(*OPERATIONS[name]))
        view = self.normalised(image)
        side = random.randint(1, HOLE_SIDE)
        down, across = (random.randrange(self.size) - side // 2 for _ in range(2))
        view[:, max(down, 0) : down + side, max(across, 0) : across + side] = 0
        return view


def operate(name: str, image: Image.Image, value: float) -> Image.Image:
    """Apply one of the paper's operations to a PIL image; ``value`` as in ``OPERATIONS``."""
    affine = {
        "shear_x": (1, value, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, value * image.width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, value * image.height),
    }
    if name in affine:
        return image.transform(image.size, Image.Transform.AFFINE, affine[name])
    match name:
        case "identity":
            return image
        case "rotate":
            return image.rotate(value)
        case "autocontrast":
            return ImageOps.autocontrast(image)
        case "equalize":
            return ImageOps.equalize(image)
        case "solarize":
            return ImageOps.solarize(image, cast(int, value))  # any threshold
        case "posterize":
            return ImageOps.posterize(image, int(value))
        case _:
            enhancer: ImageEnhance._Enhance = getattr(ImageEnhance, name.capitalize())(image)
            return enhancer.enhance(value)


def paper_epoch(
    images: PaperImages,
    encoder: nn.Module,
    heads: nn.Module,
    optimizer: torch.optim.Optimizer,
    clusters: int,
    batch_size: int,
) -> None:
    """Run one epoch as the paper does: label all images, then one step per batch, in float32.

    Args:
        images: Views of the training images.
        encoder: From ``(B, 3, S, S)`` to ``(B, D)``, in training mode.
        heads: From ``(B, D)`` to ``(1, B, clusters)``.
        optimizer: Optimizer of both.
        clusters: Number of clusters k.
        batch_size: Images in a step.
    """
    threads = torch.get_num_threads()
    loader = DataLoader(images, batch_size, shuffle=True, num_workers=threads if threads > 1 else 0)
    device = next(encoder.parameters()).device

    def outputs(views: Tensor) -> Tensor:
        """From ``(B, g, 3, S, S)`` to ``(g, B, k)``."""
        flat = heads(encoder(views.to(device).transpose(0, 1).flatten(0, 1)))[0]
        return flat.unflatten(0, (images.views, len(views)))

    all_outputs = torch.empty(images.views, len(images), clusters)
    with torch.no_grad():
        for views, index in loader:
            all_outputs[:, index] = outputs(views).cpu()
    results = [balanced_labels(view, method="translation-paper") for view in all_outputs]
    labels = torch.stack([result.labels for result in results]).to(device)
    for views, index in loader:
        if len(views) < batch_size:
            continue
        optimizer.zero_grad()
        label_consistent_loss(outputs(views), labels[:, index]).backward()
        optimizer.step()


def decoded(files: list[Path]) -> list[Image.Image]:
    """Open and decode files with PIL."""
    return [Image.fromarray(np.asarray(Image.open(file).convert("RGB"))) for file in files]
