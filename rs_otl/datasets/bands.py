"""The names of bands, whether alpha is imagery, and which raw value becomes 1.0."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError
from rs_otl.sensors import described, match
from rs_otl.spec import RGB, Band, ImageSpec, Quantity, band_names

ALPHA_NAMES = ("alpha", "mask")

# Sentinel-2's red, green and blue.
_SENTINEL_RGB = ("b04", "b03", "b02")
_PERCENTILE = 99.9
# A few values below 0 are noise around dark surfaces.
_NEGATIVE_SHARE = 0.01
# A mask is 0 or full nearly everywhere.
_ALPHA_SHARE = 0.05
# A soft mask fades from pixel to pixel: half of its values between 0 and full differ from the mean
# of their neighbours by at most this share of the greatest value. Imagery has texture.
_FADING = 1.5 / 255
# The advice of errors about values that are said to be decibels but never lie below 0.
NO_DECIBELS = (
    "expected 10 log10 of the power, partly below 0; to convert power, run "
    "`gdal_calc.py -A IN.tif --outfile OUT.tif --type Float32 --calc '10*log10(A)'`"
)


@dataclass(frozen=True)
class ImageInfo:
    """What most images of a data set are.

    Attributes:
        bands: Band names.
        units: What a raw value counts.
        is_16bit: Whether images are kept as 16 bits instead of 8.
        scale: In images of more than 8 bits ``offset + scale`` becomes 1.0. In 8-bit images it is
            always 255.
        resolution: Ground size of a pixel in metres, as text.
        mean: Published mean of each band in [0, 1]; ``None`` to estimate it.
        std: Published standard deviation of each band, as for ``mean``.
        offset: Raw value that becomes 0 in images of more than 8 bits.
        quantity: What a raw value measures.
        known: What is known about each band besides its name.
    """

    bands: tuple[str, ...]
    units: str = "8-bit counts"
    is_16bit: bool = False
    scale: float = 65535.0
    resolution: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    offset: float = 0.0
    quantity: Quantity = Quantity.COUNTS
    known: tuple[Band, ...] = ()

    @classmethod
    def from_spec(cls, spec: ImageSpec) -> "ImageInfo":
        """Describe images as a specification does."""
        info = cls(
            bands=spec.bands,
            units=spec.units,
            resolution=spec.resolution,
            mean=spec.mean,
            std=spec.std,
            quantity=spec.quantity,
            known=spec.known,
        )
        if spec.bounds == (0, 255) and spec.quantity is Quantity.COUNTS:
            return info
        return replace(info, is_16bit=True, scale=spec.scale, offset=spec.offset)

    def spec(self) -> ImageSpec:
        """Return a specification, with mean 0 and standard deviation 1 if none are known."""
        return ImageSpec(
            bands=self.bands,
            units=self.units,
            scale=self.scale if self.is_16bit else 255,
            resolution=self.resolution,
            mean=self.mean or (0,) * len(self.bands),
            std=self.std or (1,) * len(self.bands),
            offset=self.offset if self.is_16bit else 0,
            quantity=self.quantity,
            known=self.known,
        )


def name_bands(
    descriptions: Sequence[str | None], colours: Sequence[str] = ()
) -> tuple[tuple[str, ...], bool]:
    """Name the bands of an image.

    Args:
        descriptions: Name of each band in the file, if any.
        colours: The file's colour interpretation of each band, for example ``"red"``.

    Returns:
        The names, and whether the file itself gives them. The names are the descriptions in lower
        case if every band has a different one; else the colours if they are red, green and blue;
        else red, green, blue for three bands and ``band-N`` for other counts.
    """
    # GDAL's driver for Sentinel-2 says "B4, central wavelength 665 nm".
    names = tuple(
        (name or "").strip().lower().partition(", central wavelength")[0] for name in descriptions
    )
    # A description that is too long, or is not one line of text, is not a name.
    if all(0 < len(name) <= 200 and name.isprintable() for name in names) and (
        len(set(names)) == len(names)
    ):
        return names, True
    if sorted(colours) == sorted(RGB):
        return tuple(colours), True
    if len(descriptions) == len(RGB):
        return RGB, False
    return band_names(len(descriptions)), False


def choose_bands(
    wanted: Sequence[str], known: Sequence[Band], named: bool, source: str
) -> tuple[list[int], tuple[str, ...]]:
    """Find the bands that a user names with ``--bands``.

    Args:
        wanted: Numbers from 1, names, aliases or common names. If the file does not name its
            bands and has as many as are wanted, they get the wanted names.
        known: The bands of the file.
        named: Whether the file names its bands.
        source: What the bands belong to, for the error.

    Returns:
        Positions and names of the wanted bands.

    Raises:
        InputError: There is no such band, or a band is named twice.
    """
    if not named and len(wanted) == len(known) and not any(name.isdigit() for name in wanted):
        missing = [name for name in wanted if match(described([name]), known).positions == [None]]
        if missing:
            return list(range(len(known))), tuple(name.lower() for name in wanted)
    positions = []
    for name in wanted:
        if name.isdigit() and 1 <= int(name) <= len(known):
            positions.append(int(name) - 1)
            continue
        (position,) = match(described([name]), known).positions
        if position is None:
            raise InputError(
                f"--bands {name}: {source} has no such band; expected numbers from 1 to "
                f"{len(known)} or of {', '.join(band.name for band in known)}"
            )
        positions.append(position)
    twice = [name for name, at in zip(wanted, positions, strict=True) if positions.count(at) > 1]
    if twice:
        raise InputError(
            f"--bands {','.join(wanted)}: {' and '.join(twice)} name the same band of {source}; "
            "name each band once"
        )
    return positions, tuple(known[position].name for position in positions)


def rgb_positions(bands: Sequence[str]) -> list[int] | None:
    """Find red, green and blue: by name, else the first three bands; ``None`` below three."""
    names = [name.lower() for name in bands]
    for wanted in (RGB, _SENTINEL_RGB):
        if set(wanted) <= set(names):
            return [names.index(name) for name in wanted]
    return [0, 1, 2] if len(bands) >= len(RGB) else None


def alpha_is_imagery(name: str | None, samples: Iterable[NDArray[Any]]) -> bool:
    """Whether a band that a file marks as alpha is imagery.

    GDAL marks the fourth of four 8-bit bands as alpha, but as often it is near infrared.

    Args:
        name: Name of the band in the file, if any. Any name but alpha and mask makes it imagery.
        samples: The band in some images, (h, w), at every pixel. A band without a name is imagery
            if more than a twentieth of the values lie between 0 and the image's greatest value,
            and do not fade from one pixel to the next. A mask is 0 or full nearly everywhere, and
            a soft mask fades.
    """
    if name:
        return name.strip().lower() not in ALPHA_NAMES
    total = 0
    steps = [np.zeros(0, np.float32)]
    for sample in samples:
        values = sample.astype(np.float32)
        between = (values > 0) & (values < values.max(initial=0))
        neighbours = (values[:, :-2] + values[:, 2:]) / 2
        texture = np.abs(values[:, 1:-1] - neighbours) / max(values.max(initial=0), 1)
        steps.append(texture[between[:, 1:-1]])
        total += neighbours.size
    all_steps = np.concatenate(steps)
    return len(all_steps) > _ALPHA_SHARE * total and float(np.median(all_steps)) > _FADING


def value_range(
    samples: Iterable[NDArray[Any]], source: object, quantity: Quantity = Quantity.COUNTS
) -> tuple[float, float]:
    """Return the raw values that become 0 and 1; a few extreme pixels do not move them.

    Args:
        samples: Pixels of some images, at least one.
        source: What the images belong to, for the error.
        quantity: What the values measure.

    Returns:
        0 and the 99.9th percentile. The 0.1th and the 99.9th percentile for decibels, and for
        reflectance and radiance if more than a hundredth of the values lie below 0.

    Raises:
        InputError: More than a hundredth of the counts lie below 0, or no decibels do.
    """
    values = np.concatenate([sample.ravel() for sample in samples])
    negative = float((values < 0).mean())
    low = 0.0
    if quantity is Quantity.DECIBELS and not negative:
        raise InputError(f"{source}: values from {values.min():.4g} in dB: {NO_DECIBELS}")
    if quantity is Quantity.DECIBELS or (
        negative > _NEGATIVE_SHARE and quantity is not Quantity.COUNTS
    ):
        low = float(np.percentile(values, 100 - _PERCENTILE))
    elif negative > _NEGATIVE_SHARE:
        raise InputError(
            f"{source}: {negative:.0%} of the values lie below 0, down to {values.min():.4g}; "
            "expected raw values that count up from 0, neither normalised nor in decibels; if they "
            "are backscatter in dB, --units db says so, and --scale and --offset change others"
        )
    return low, max(low, float(np.percentile(values, _PERCENTILE)))


def top_value(samples: Iterable[NDArray[Any]], source: object) -> float:
    """Return the raw value that becomes 1.0 in counts; see :func:`value_range`."""
    return value_range(samples, source)[1]
