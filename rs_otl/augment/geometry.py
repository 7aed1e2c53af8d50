"""Crops, flips, turns and small warps of images, each as one matrix.

A matrix (2, 3) takes a point of the output to the point of the input that it shows, both in
[-1, 1] from the outer edge of the first pixel to the outer edge of the last, x to the right and
y down: what ``torch.nn.functional.affine_grid`` calls ``align_corners=False``. No size in
pixels appears, so a draw fits images of any size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CROP_AREA = (0.2, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
_TRIES = 10

_FLIP = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
_QUARTER_TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
_TURNS = [torch.linalg.matrix_power(_QUARTER_TURN, quarters) for quarters in range(4)]
# As it is, then flipped left to right, then both after each quarter turn.
ORIENTATIONS = torch.stack([turn @ flip for turn in _TURNS for flip in (torch.eye(2), _FLIP)])


def random_crops(n: int, orientations: int, areas: tuple[float, float] = CROP_AREA) -> Tensor:
    """Draw random resized crops, each shown in a random orientation.

    The crop's share of the image's area is drawn uniformly, its ratio of width to height
    log-uniformly from 3/4 to 4/3 (section 4.3). A crop that does not fit is drawn again, in at
    most ten tries, as in torchvision's ``RandomResizedCrop``.

    Args:
        n: Number of crops.
        orientations: How many of ``ORIENTATIONS`` to draw from, from the first on: 1 keeps the
            image upright, 2 flips half of them left to right, 8 adds the quarter turns.
        areas: Smallest and largest share of the image's area, in (0, 1].

    Returns:
        Matrices (n, 2, 3), float32, on the CPU.
    """
    area = torch.empty(n, _TRIES).uniform_(*areas)
    ratio = torch.empty(n, _TRIES).uniform_(*map(math.log, CROP_RATIO)).exp()
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=-1)
    fits = (sides <= 1).all(dim=-1)
    sides = sides[torch.arange(n), fits.int().argmax(dim=1)].clamp(max=1)
    centre = (1 - sides) * torch.empty(n, 2).uniform_(-1, 1)
    orientation = ORIENTATIONS[torch.randint(orientations, (n,))]
    return torch.cat([sides[:, :, None] * orientation, centre[:, :, None]], dim=2)


def rotation(degrees: Tensor) -> Tensor:
    """Return matrices of ``PIL.Image.rotate``: about the centre, positive is counter-clockwise.

    Args:
        degrees: (n,), any; the paper draws -30 to 30.

    Returns:
        Matrices (n, 2, 3).
    """
    radians = degrees.deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(degrees)
    return _matrices([cos, -sin, zero], [sin, cos, zero])


def shear_x(slope: Tensor) -> Tensor:
    """Return matrices that slide rows: a row shows what lies ``slope`` times its y further right.

    The upper edge stays in place, as with PIL's ``transform(size, AFFINE, (1, slope, 0, 0, 1,
    0))``, not the centre as in kornia.

    Args:
        slope: (n,), pixels a row, not degrees; the paper draws -0.1 to 0.1.

    Returns:
        Matrices (n, 2, 3).
    """
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return _matrices([one, slope, slope], [zero, one, zero])


def shear_y(slope: Tensor) -> Tensor:
    """Return matrices that slide columns: each shows what lies ``slope`` times its x further down.

    The left edge stays in place; see ``shear_x``.

    Args:
        slope: (n,), pixels a column, not degrees; the paper draws -0.1 to 0.1.

    Returns:
        Matrices (n, 2, 3).
    """
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return _matrices([one, zero, zero], [slope, one, slope])


def translation_x(share: Tensor) -> Tensor:
    """Return matrices that show what lies ``share`` of the width further right.

    Args:
        share: (n,), of the width, not pixels; the paper draws -0.1 to 0.1.

    Returns:
        Matrices (n, 2, 3).
    """
    one, zero = torch.ones_like(share), torch.zeros_like(share)
    return _matrices([one, zero, 2 * share], [zero, one, zero])


def translation_y(share: Tensor) -> Tensor:
    """Return matrices that show what lies ``share`` of the height further down.

    Args:
        share: (n,), of the height, not pixels; the paper draws -0.1 to 0.1.

    Returns:
        Matrices (n, 2, 3).
    """
    one, zero = torch.ones_like(share), torch.zeros_like(share)
    return _matrices([one, zero, zero], [zero, one, 2 * share])


def resample(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Show the part of each image that its matrix says, bilinearly, borders repeated.

    Args:
        images: (n, C, H, W), float32.
        matrices: (n, 2, 3), float32, on any device.
        size: Side of the result in pixels.

    Returns:
        (n, C, size, size), float32.
    """
    grid = _grid(matrices.to(images.device), size)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Warp each image at its size, as PIL does by default: nearest pixel, 0 outside.

    Nearest pixels keep several warps from blurring an image, and make the result equal PIL's.

    Args:
        images: (n, C, S, S), float32.
        matrices: (n, 2, 3), float32, on any device.

    Returns:
        (n, C, S, S), float32.
    """
    grid = _grid(matrices.to(images.device), images.shape[-1])
    return F.grid_sample(images, grid, mode="nearest", align_corners=False)


def _grid(matrices: Tensor, size: int) -> Tensor:
    # Equals torch's affine_grid, whose matrix product over all points takes many times as long.
    place = (2 * torch.arange(size, device=matrices.device) + 1) / size - 1
    across = matrices[:, None, :, 0] * place[:, None]
    down = matrices[:, None, :, 1] * place[:, None] + matrices[:, None, :, 2]
    return across[:, None, :] + down[:, :, None]


def _matrices(x: list[Tensor], y: list[Tensor]) -> Tensor:
    return torch.stack([torch.stack(x, dim=1), torch.stack(y, dim=1)], dim=1)
