"""The one view of an image that an encoder sees at test time."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from rs_otl.spec import load_size


class TestView(nn.Module):
    """Resize, centre crop and normalise: the paper's test view (section 4.3).

    Args:
        size: Side of the view in pixels; images are first resized to ``load_size(size)``.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band.
    """

    __test__ = False  # the name is not a test's

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised views of images.

        Args:
            images: float32 in [0, 1], ``(B, C, H, W)`` or ``(C, H, W)``, any size.

        Returns:
            Normalised float32, ``(..., C, size, size)``.
        """
        loaded = load_size(self.size)
        if images.shape[-2:] != (loaded, loaded):
            images = F.resize(images, [loaded, loaded], antialias=True)
        return (F.center_crop(images, [self.size, self.size]) - self.mean) / self.std
