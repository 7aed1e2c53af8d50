"""The description of images, and of an encoder that was trained on them."""

import re
import reprlib
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from rs_otl.errors import InputError

RGB = ("red", "green", "blue")

# The paper normalises every RGB data set with CIFAR-10's statistics.
PAPER_MEAN = (0.4914, 0.4822, 0.4465)
PAPER_STD = (0.2023, 0.1994, 0.2010)


# Larger than any image or network, so that a damaged description cannot ask for all memory.
MAX_BANDS = 1024
MAX_IMAGE_SIZE = 4096


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected text without line breaks and control characters")
    return text


def made_printable(text: str) -> str:
    """Replace characters that cannot be printed, such as those of a name that is not UTF-8."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _text_made_printable(value: object) -> object:
    return made_printable(value) if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
ImageSize = Annotated[int, Field(ge=1, le=MAX_IMAGE_SIZE)]
# What the features of a vision transformer are made of.
Pool = Literal["cls", "mean"]


def band_names(count: int) -> tuple[str, ...]:
    """Return names for bands that have none.

    Args:
        count: Number of bands.

    Returns:
        ``band-1``, ``band-2`` and so on.
    """
    return tuple(f"band-{number}" for number in range(1, count + 1))


class Quantity(StrEnum):
    """What a raw value measures; the names are those of ``--units``."""

    COUNTS = "counts"
    TOA = "toa"
    SURFACE = "surface"
    RADIANCE = "radiance"
    DECIBELS = "db"

    @property
    def is_reflectance(self) -> bool:
        """Whether it is reflectance, whose raw values are reflectance x 10,000."""
        return self in (Quantity.TOA, Quantity.SURFACE)


# Units of each quantity's raw values. Counts are missing: their units depend on the bit depth.
UNITS = {
    Quantity.TOA: "top-of-atmosphere reflectance x 10,000",
    Quantity.SURFACE: "surface reflectance x 10,000",
    Quantity.RADIANCE: "radiance in W/(m2 sr um)",
    Quantity.DECIBELS: "backscatter in dB",
}
# Units of older encoders for the catalogue's Sentinel-2 data set, before quantities had names.
_TOA_BEFORE = "Sentinel-2 L1C top-of-atmosphere reflectance x 10,000"


class Band(BaseModel):
    """A band of a sensor.

    Attributes:
        name: Its name.
        aliases: Other names for it.
        common_name: Its common name in STAC's extension ``eo``, such as ``"red"``.
        wavelength: Centre wavelength in micrometres.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    aliases: tuple[Name, ...] = ()
    common_name: Name | None = None
    wavelength: Positive | None = None


class Values(BaseModel):
    """What stored values stand for, if a file does not say it or is wrong.

    Attributes:
        scale: Factor that stored values are multiplied with, above 0; ``None`` for what the file
            says.
        offset: Number that is added after ``scale``; ``None`` for what the file says.
        quantity: What the result measures. Reflectance is a fraction if values are floating-point
            numbers or scaled, and a fraction x 10,000 if they are unscaled whole numbers. Counts
            are the stored values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Positive | None = None
    offset: FiniteFloat | None = None
    quantity: Quantity | None = None


class ImageSpec(BaseModel):
    """Bands, units and normalisation of a kind of image.

    Images are float32 in [0, 1]: ``offset`` is subtracted from the raw value, and the result is
    divided by ``scale`` and clipped. ``mean`` and ``std`` are of these scaled values, one for each
    band, and are applied last.

    Attributes:
        bands: Band names, in the order of the channels.
        units: What a raw value counts, in words, for example ``"8-bit counts"``.
        scale: The raw value ``offset + scale`` becomes 1.0.
        resolution: Ground size of a pixel in metres, as text, since many sets mix several
            (``"0.5-8"``); ``None`` where unknown.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band, above 0.
        offset: The raw value that becomes 0.
        quantity: What a raw value measures.
        known: What is known of each band besides its name; empty if nothing is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_BANDS)]
    units: Name
    scale: Positive
    resolution: Name | None
    mean: tuple[FiniteFloat, ...]
    std: tuple[Positive, ...]
    offset: FiniteFloat = 0.0
    quantity: Quantity = Quantity.COUNTS
    known: tuple[Band, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _quantity_of_before(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("units") == _TOA_BEFORE:
            return {"quantity": Quantity.TOA} | values
        return values

    @model_validator(mode="after")
    def _one_mean_and_std_per_band(self) -> "ImageSpec":
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"{len(self.bands)} bands need as many means and stds, "
                f"not {len(self.mean)} and {len(self.std)}"
            )
        if self.known and tuple(band.name for band in self.known) != self.bands:
            raise ValueError(f"what is known of bands needs their names {', '.join(self.bands)}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The raw values that become 0 and 1."""
        return self.offset, self.offset + self.scale

    def measures_as(self, units: str, quantity: Quantity) -> bool:
        """Whether other images' raw values mean the same: same quantity; for counts, same units."""
        if Quantity.COUNTS in (self.quantity, quantity):
            return self.quantity == quantity and self.units == units
        return self.quantity == quantity

    def how_to_measure(self, units: str, quantity: Quantity | None) -> str:
        """Say which options make raw values of other images mean the same as these.

        Args:
            units: What raw values of the other images count.
            quantity: What the other images measure; ``None`` if nothing says it.
        """
        wanted, low, high = self.quantity, *self.bounds
        if wanted is Quantity.COUNTS:
            return (
                "--units counts --scale F --offset O makes stored x F + O of what is stored, "
                f"expected from {low:g} to {high:g} as the encoder's"
            )
        if quantity not in (None, Quantity.COUNTS):
            if wanted.is_reflectance and quantity.is_reflectance:
                return f"--units {wanted} takes them as the encoder's"
            if wanted.is_reflectance and quantity is Quantity.RADIANCE:
                return (
                    f"--units {wanted} --scale F takes stored x F as reflectance, which is another "
                    "F for each band and date: better have the scene as reflectance"
                )
            return "expected an encoder of its units; `rs-otl encoders` lists what each takes"
        if wanted.is_reflectance and units == "8-bit counts":
            return f"--units {wanted} --scale F says what 1 count is, for example --scale 0.004"
        if wanted.is_reflectance and units == "16-bit counts":
            return f"--units {wanted} takes them as the encoder's"
        if wanted.is_reflectance:
            return f"--units {wanted} if 1 is full reflectance, with --scale 0.0001 if 10,000 is"
        if wanted is Quantity.DECIBELS:
            return "--units db if they are 10 log10 of the power, with --scale 0.01 if hundredths"
        return f"--units {wanted} with the --scale and --offset that make them so"


def load_size(image_size: int) -> int:
    """Return the side of the square that an image is resized to before it is cropped.

    The paper resizes to 256 pixels and crops 224 (section 4.3); other sizes keep that ratio.

    Args:
        image_size: Side of the images that the encoder sees, in pixels.

    Returns:
        Side in pixels, for example 256 for 224 and 73 for 64.
    """
    return round(image_size * 256 / 224)


class EncoderConfig(BaseModel):
    """What must be known of an encoder to use it, besides its weights.

    Attributes:
        encoder: timm architecture.
        image_size: Side of the images that it sees, in pixels.
        spec: Bands, units and normalisation of these images.
        dataset: Name of the data set it was trained on.
        epochs: Epochs it was trained for; 0 for random weights, ``None`` where unknown.
        supervised: Whether it was trained with labels.
        pool: What a vision transformer's features are made of: ``cls``, its class token, or
            ``mean``, the mean of its patches; ``None`` for the rule of its architecture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: Name
    image_size: ImageSize
    spec: ImageSpec
    # The name of a folder may contain any character.
    dataset: Annotated[str, BeforeValidator(_text_made_printable)]
    epochs: Annotated[int, Field(ge=0)] | None
    supervised: bool = False
    pool: Pool | None = None


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: object, source: str) -> Model:
    """Check values that were read from outside, and make a model from them.

    Args:
        model: Class of the model.
        values: What was read.
        source: The file, for the error.

    Raises:
        InputError: If a value is not as expected; one printable line with file, key and value.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = re.sub("^Value error, ", "", first["msg"])
        given = f"{key} = {reprlib.repr(first['input'])}: " if key else ""
        raise InputError(made_printable(f"{source}: {given}{reason}")) from None
