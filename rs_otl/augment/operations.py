"""The fourteen operations of the paper's strong augmentation, on batches of any bands.

Images are (n, C, S, S), float32 in [0, 1], and so is every result; a value is one number for each
image, (n,). PIL is the reference: an operation equals what ``PIL.ImageOps``,
``PIL.ImageEnhance`` or ``Image.transform`` does to an 8-bit image, within a grey level.
Operations that kornia does as PIL are kornia's; the others say why they are not.
"""

import torch
from kornia import enhance
from torch import Tensor

from rs_otl.augment import geometry

# name: lowest and highest value that the paper draws; 0, 0 where there is none to draw.
OPERATIONS: dict[str, tuple[float, float]] = {
    "identity": (0.0, 0.0),
    "autocontrast": (0.0, 0.0),
    "equalize": (0.0, 0.0),
    "solarize": (0.0, 256.0),
    "posterize": (4.0, 8.0),
    "color": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "brightness": (0.05, 0.95),
    "sharpness": (0.05, 0.95),
    "rotate": (-30.0, 30.0),
    "shear_x": (-0.1, 0.1),
    "shear_y": (-0.1, 0.1),
    "translate_x": (-0.1, 0.1),
    "translate_y": (-0.1, 0.1),
}

_NAMES = list(OPERATIONS)
_RANGES = torch.tensor(list(OPERATIONS.values()))
_MATRICES = {
    "rotate": geometry.rotation,
    "shear_x": geometry.shear_x,
    "shear_y": geometry.shear_y,
    "translate_x": geometry.translation_x,
    "translate_y": geometry.translation_y,
}


def random_operations(n: int, steps: int) -> tuple[Tensor, Tensor]:
    """Draw operations for each image, with replacement, and a value for each.

    Args:
        n: Number of images.
        steps: Operations for each image.

    Returns:
        Kinds (n, steps), int64 positions in ``OPERATIONS``, and values (n, steps), float32,
        uniform in the range of their kind. Both on the CPU.
    """
    kinds = torch.randint(len(OPERATIONS), (n, steps))
    low, high = _RANGES[kinds].unbind(dim=-1)
    return kinds, torch.lerp(low, high, torch.rand(n, steps))


def operate_mixed(images: Tensor, kinds: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Apply to each image its own operation, the images of one kind together.

    Args:
        images: (n, C, S, S), float32 in [0, 1]. Overwritten.
        kinds: Positions in ``OPERATIONS``, (n,), int64, on the CPU, so that grouping the images
            does not wait for a GPU.
        values: (n,), float32, on the CPU.
        weights: See ``grey``.

    Returns:
        ``images``.
    """
    warped = torch.zeros_like(kinds, dtype=torch.bool)
    matrices = torch.empty(len(kinds), 2, 3)
    for kind, name in enumerate(_NAMES):
        chosen = (kinds == kind).nonzero()[:, 0]
        if name == "identity" or len(chosen) == 0:
            continue
        if name in _MATRICES:
            matrices[chosen] = _MATRICES[name](values[chosen])
            warped[chosen] = True
        else:
            own = values[chosen].to(images.device)
            images[chosen] = operate(name, images[chosen], own, weights)
    chosen = warped.nonzero()[:, 0]
    if len(chosen):
        images[chosen] = geometry.warp(images[chosen], matrices[chosen])
    return images


def operate(name: str, images: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Apply one operation to all images, to each with its own value.

    Args:
        name: One of ``OPERATIONS``.
        images: (n, C, S, S), float32 in [0, 1].
        values: (n,), float32, on the images' device.
        weights: See ``grey``.

    Returns:
        (n, C, S, S), float32 in [0, 1].
    """
    match name:
        case "identity":
            return images
        case "autocontrast":
            return autocontrast(images)
        case "equalize":
            return equalize(images)
        case "solarize":
            return solarize(images, values)
        case "posterize":
            return posterize(images, values)
        case "color":
            return color(images, values, weights)
        case "contrast":
            return contrast(images, values, weights)
        case "brightness":
            return brightness(images, values)
        case "sharpness":
            return sharpness(images, values)
        case _:
            return geometry.warp(images, _MATRICES[name](values))


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each band of each image to 0..1; a flat band stays, as in ``ImageOps``.

    A flat band spans at most half an 8-bit level: rounding, not contrast. Not kornia's: its
    ``normalize_min_max`` turns a flat band black and stretches rounding.
    """
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    span = high - low
    return torch.where(span > 0.5 / 255, (images - low) / span, images)


def equalize(images: Tensor) -> Tensor:
    """Flatten the histogram of 256 levels of each band, as ``ImageOps.equalize``."""
    return enhance.equalize(_whole_levels(images))


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert pixels as bright as the threshold or brighter, as ``ImageOps.solarize``.

    Args:
        images: (n, C, S, S) in [0, 1].
        threshold: (n,) in 8-bit levels, 0 (inverts everything) to 256 (nothing). kornia's is
            in [0, 1].
    """
    return enhance.solarize(images, threshold / 255)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits of the 8-bit level, as ``ImageOps.posterize``.

    Args:
        images: (n, C, S, S) in [0, 1].
        bits: (n,), 0 to 8, rounded down as the authors do: 4 to 8 keeps 4, 5, 6 or 7 bits.
    """
    return enhance.posterize(_whole_levels(images), bits.long())


def color(images: Tensor, factor: Tensor, weights: Tensor) -> Tensor:
    """Blend with the grey image, as ``ImageEnhance.Color``.

    Not kornia's: its ``adjust_saturation_with_gray_subtraction`` takes only RGB.

    Args:
        images: (n, C, S, S) in [0, 1].
        factor: (n,), 0 is grey, 1 the image, above 1 more saturated.
        weights: See ``grey``.
    """
    return _blend(grey(images, weights), images, factor)


def contrast(images: Tensor, factor: Tensor, weights: Tensor) -> Tensor:
    """Blend with the mean of the grey image, as ``ImageEnhance.Contrast``.

    Not kornia's: its ``adjust_contrast`` scales towards black, and its
    ``adjust_contrast_with_mean_subtraction`` treats any three bands as RGB.

    Args:
        images: (n, C, S, S) in [0, 1].
        factor: (n,), 0 is a flat grey, 1 the image, above 1 more contrast.
        weights: See ``grey``.
    """
    return _blend(grey(images, weights).mean((2, 3), keepdim=True), images, factor)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black, as ``ImageEnhance.Brightness``.

    Not kornia's: its ``adjust_brightness`` adds to the image.

    Args:
        images: (n, C, S, S) in [0, 1].
        factor: (n,), 0 is black, 1 the image, above 1 brighter.
    """
    return _blend(images.new_zeros(()), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed over 3x3 pixels, as ``ImageEnhance.Sharpness``.

    The centre weighs 5, its neighbours 1 each, and the outermost pixels stay. Not kornia's: its
    ``sharpness`` convolves, at several times the cost of all other operations.

    Args:
        images: (n, C, S, S) in [0, 1], S at least 3.
        factor: (n,), 0 is smoothed, 1 the image, above 1 sharper.
    """
    sums = images[..., :-2] + images[..., 1:-1] + images[..., 2:]
    sums = sums[..., :-2, :] + sums[..., 1:-1, :] + sums[..., 2:, :]
    smoothed = images.clone()
    smoothed[..., 1:-1, 1:-1].mul_(4).add_(sums).div_(13)
    return _blend(smoothed, images, factor)


def grey_weights(bands: int, rgb: bool) -> Tensor:
    """Return the share of each band in grey.

    Args:
        bands: Number of bands.
        rgb: Whether they are red, green and blue, in this order.

    Returns:
        (bands,): the luminance of ITU-R 601 as in PIL for RGB, else equal shares.
    """
    return torch.tensor([0.299, 0.587, 0.114]) if rgb else torch.full((bands,), 1 / bands)


def grey(images: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean over the bands.

    Args:
        images: (n, C, S, S) in [0, 1].
        weights: (C,), of sum 1, on the images' device; see ``grey_weights``.

    Returns:
        (n, 1, S, S) in [0, 1].
    """
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def _whole_levels(images: Tensor) -> Tensor:
    # kornia cuts to 8-bit levels: a flat area of 127.99998 and 128.00001 would come out speckled.
    return (images * 255).round_().div_(255)


def _blend(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other, images, factor[:, None, None, None]).clamp_(0, 1)
