"""Random views of images: a simple pipeline and the paper's strong one."""

import difflib
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from rs_otl.augment.compiled import simple_views, strong_views
from rs_otl.augment.geometry import CROP_AREA, random_crops, resample
from rs_otl.augment.operations import (
    brightness,
    color,
    contrast,
    grey,
    grey_weights,
    operate_mixed,
    random_operations,
)
from rs_otl.errors import InputError

COLOR_FACTOR = (0.6, 1.4)
GREY_PROBABILITY = 0.2
STRONG_STEPS = 10
# Share of an image that a local view shows: less than most other views show.
LOCAL_AREA = (0.05, 0.3)
HOLE_SIDE = 16


class SimpleDraw(NamedTuple):
    """The random choices for n simple views, on the CPU, one row per image.

    Attributes:
        crops: Crop and orientation, (n, 2, 3), float32; see ``rs_otl.augment.geometry``.
        factors: Of brightness, contrast and saturation, (n, 3), float32 in 0.6..1.4.
        grey: Which images lose their colour, (n,), bool.
    """

    crops: Tensor
    factors: Tensor
    grey: Tensor


class StrongDraw(NamedTuple):
    """The random choices for n strong views, on the CPU, one row per image.

    Attributes:
        crops: Crop and orientation, (n, 2, 3), float32; see ``rs_otl.augment.geometry``.
        kinds: The operations, (n, steps), int64 positions in ``operations.OPERATIONS``.
        values: Their values, (n, steps), float32, in the units of their kind.
        holes: Left, top, right and lower edge of the hole, (n, 4), int64 pixels of the view;
            may reach over its border.
    """

    crops: Tensor
    kinds: Tensor
    values: Tensor
    holes: Tensor


Draw = TypeVar("Draw", SimpleDraw, StrongDraw)


class _Views(nn.Module, Generic[Draw]):
    """Shared by both pipelines: checks, statistics, no gradients, normalisation last."""

    mean: Tensor
    std: Tensor
    weights: Tensor

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float], rgb: bool) -> None:
        super().__init__()
        if len(mean) != len(std) or (rgb and len(mean) != 3):
            raise InputError(
                f"views take a mean and a std for each band, 3 of them if rgb, "
                f"not {len(mean)} and {len(std)} with rgb={rgb}"
            )
        self.size = size
        for name, statistic in (("mean", mean), ("std", std)):
            column = torch.tensor(statistic, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, column, persistent=False)
        self.register_buffer("weights", grey_weights(len(mean), rgb), persistent=False)

    def forward(self, images: Tensor, draw: Draw | None = None) -> Tensor:
        """Make one view of each image.

        Args:
            images: (n, C, S, S), floating point in [0, 1] or uint8, not normalised.
            draw: What ``sample(n)`` returned, to see the same view again; by default a new
                draw from torch's global CPU generator.

        Returns:
            (n, C, size, size), float32, normalised, on the device of ``images``.

        Raises:
            InputError: If ``images`` are of another shape or type.
        """
        bands = len(self.mean)
        if images.ndim != 4 or images.shape[1] != bands or images.shape[2] != images.shape[3]:
            raise InputError(
                f"views take square images of {bands} bands, (n, {bands}, S, S), "
                f"not {tuple(images.shape)}"
            )
        if not images.is_floating_point() and images.dtype != torch.uint8:
            raise InputError(
                f"views take uint8 or floating-point images in [0, 1], not {images.dtype}"
            )
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            draw = self.sample(len(images)) if draw is None else draw
            return self._view(images, draw)

    def sample(self, n: int) -> Draw:
        raise NotImplementedError

    def _view(self, images: Tensor, draw: Draw) -> Tensor:
        raise NotImplementedError

    def _normalise(self, images: Tensor) -> Tensor:
        return images.sub_(self.mean).div_(self.std)


class SimpleViews(_Views[SimpleDraw]):
    """Resized crop, flips and quarter turns, colour, grey; then normalised.

    Overhead imagery has no up, so all eight orientations are equally likely, unless
    ``orientations`` says otherwise. Brightness, then contrast, then saturation change by factors
    in 0.6..1.4; a fifth of the images become grey. All values are float32; uint8 images on the
    CPU go through ``rs_otl.augment.compiled``.

    Args:
        size: Side of the views in pixels.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band.
        rgb: Whether the bands are red, green and blue: grey is then their luminance, else the
            mean over the bands.
        orientations: 8; 2 for images with an up, which are then only mirrored; 1 for images that
            must not be mirrored, such as digits.
        areas: Smallest and largest share of the image that a view shows.
    """

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        rgb: bool,
        orientations: int = 8,
        areas: tuple[float, float] = CROP_AREA,
    ) -> None:
        super().__init__(size, mean, std, rgb)
        self.orientations = orientations
        self.areas = areas

    def sample(self, n: int) -> SimpleDraw:
        """Draw what n views need, from torch's global CPU generator.

        On the CPU, so that a seed gives the same views on every device.
        """
        return SimpleDraw(
            crops=random_crops(n, self.orientations, self.areas),
            factors=torch.empty(n, 3).uniform_(*COLOR_FACTOR),
            grey=torch.rand(n) < GREY_PROBABILITY,
        )

    def _view(self, images: Tensor, draw: SimpleDraw) -> Tensor:
        if images.dtype == torch.uint8 and images.device.type == "cpu":
            return simple_views(images, *draw, self.size, self.weights, self.mean, self.std)
        images = resample(as_unit(images), draw.crops, self.size)
        by_brightness, by_contrast, by_color = draw.factors.to(images.device).unbind(dim=1)
        images = brightness(images, by_brightness)
        images = contrast(images, by_contrast, self.weights)
        images = color(images, by_color, self.weights)
        without_color = draw.grey.nonzero()[:, 0]
        images[without_color] = grey(images[without_color], self.weights).expand(
            -1, images.shape[1], -1, -1
        )
        return self._normalise(images)


class StrongViews(_Views[StrongDraw]):
    """The paper's strong augmentation (section 4.3): ten random operations, then a hole.

    Resized crop, left-right flip, ``operations`` drawn with replacement from the fourteen of
    ``operations.OPERATIONS`` (10 in section 4.3, 8 in appendix D); normalised; then one square
    hole of the value 0, the mean.

    Images of uint8 on the CPU stay in 8 bits throughout, with PIL's arithmetic
    (``rs_otl.augment.compiled``); all others, and all on a GPU, are float32 throughout, so that
    16-bit images keep their depth. A draw gives the same view in both, to a grey level per
    operation.

    The hole's side is 1 to 16 pixels, as in the paper, but never more than a quarter of the
    view. Its centre lies anywhere, so that a part may fall outside.

    Args:
        size: Side of the views in pixels.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band.
        rgb: Whether the bands are red, green and blue: grey is then their luminance, else the
            mean over the bands.
        operations: Operations drawn for each view, at least 1.
        orientations: 2; 1 for images that must not be mirrored; 8 for quarter turns too.
        areas: Smallest and largest share of the image that a view shows.
    """

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        rgb: bool,
        operations: int = STRONG_STEPS,
        orientations: int = 2,
        areas: tuple[float, float] = CROP_AREA,
    ) -> None:
        super().__init__(size, mean, std, rgb)
        if operations < 1:
            raise InputError(f"operations = {operations}: expected a number of at least 1")
        self.operations = operations
        self.orientations = orientations
        self.areas = areas

    def sample(self, n: int) -> StrongDraw:
        """Draw what n views need, from torch's global CPU generator.

        On the CPU, so that a seed gives the same views on every device.
        """
        crops = random_crops(n, self.orientations, self.areas)
        kinds, values = random_operations(n, self.operations)
        longest = max(1, min(HOLE_SIDE, self.size // 4))
        side = torch.randint(1, longest + 1, (n, 1))
        start = torch.randint(self.size, (n, 2)) - side // 2
        return StrongDraw(crops, kinds, values, holes=torch.cat([start, start + side], dim=1))

    def _view(self, images: Tensor, draw: StrongDraw) -> Tensor:
        if images.dtype == torch.uint8 and images.device.type == "cpu":
            return strong_views(images, *draw, self.size, self.weights, self.mean, self.std)
        images = resample(as_unit(images), draw.crops, self.size)
        for kinds, values in zip(draw.kinds.T, draw.values.T, strict=True):
            images = operate_mixed(images, kinds, values, self.weights)
        return _cut_out(self._normalise(images), draw.holes)


def as_unit(images: Tensor) -> Tensor:
    """Return images as float32 in [0, 1]: uint8 divided by 255, others as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def augmentation(
    name: str,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    rgb: bool,
    operations: int = STRONG_STEPS,
    orientations: int | None = None,
    local: bool = False,
) -> SimpleViews | StrongViews:
    """Make the views called ``name``.

    Args:
        name: ``"simple"`` or ``"strong"``.
        size: Side of the views in pixels.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band.
        rgb: Whether the bands are red, green and blue.
        operations: Operations of a strong view; simple views ignore it.
        orientations: Orientations of a view: 1, 2 or 8; by default 8 for simple, 2 for strong
            views.
        local: Whether they are local views, which show a small part of the image.

    Returns:
        A module without parameters or state: (n, C, S, S), uint8 or in [0, 1], to
        (n, C, size, size), normalised.

    Raises:
        InputError: If there are no views of that name, or no such number of orientations.
    """
    if orientations not in (None, 1, 2, 8):
        raise InputError(f"orientations = {orientations}: expected 1, 2 or 8")
    areas = LOCAL_AREA if local else CROP_AREA
    if name == "simple":
        return SimpleViews(size, mean, std, rgb, orientations or 8, areas)
    if name == "strong":
        return StrongViews(size, mean, std, rgb, operations, orientations or 2, areas)
    near = difflib.get_close_matches(name, ("simple", "strong"), n=1, cutoff=0)
    raise InputError(f"no augmentation '{name}': use simple or strong (nearest: {near[0]})")


def _cut_out(images: Tensor, holes: Tensor) -> Tensor:
    left, top, right, bottom = holes.to(images.device)[:, :, None].unbind(dim=1)
    place = torch.arange(images.shape[-1], device=images.device)
    columns = (place >= left) & (place < right)
    rows = (place >= top) & (place < bottom)
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
