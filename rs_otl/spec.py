"""What an image is made of: the facts that must travel with an encoder."""

from pydantic import BaseModel, ConfigDict, model_validator

RGB = ("red", "green", "blue")

# The paper normalises every RGB data set with CIFAR-10's statistics.
PAPER_MEAN = (0.4914, 0.4822, 0.4465)
PAPER_STD = (0.2023, 0.1994, 0.2010)


def band_names(count: int) -> tuple[str, ...]:
    """Names of bands that nothing else names.

    Args:
        count: Number of bands.

    Returns:
        ``band-1``, ``band-2`` and so on.
    """
    return tuple(f"band-{number}" for number in range(1, count + 1))


class ImageSpec(BaseModel):
    """Bands, units and normalisation of a kind of image.

    Images are float32 in [0, 1]: the raw value divided by ``scale``, clipped. ``mean`` and
    ``std`` are of these scaled values, one for each band, and are applied last.

    Attributes:
        bands: Band names, in the order of the channels.
        units: What a raw value counts, for example ``"8-bit counts"``.
        scale: The raw value that becomes 1.0.
        resolution: Ground size of a pixel in metres, as text, since many sets mix several
            (``"0.5-8"``); ``None`` where unknown.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band, above 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: tuple[str, ...]
    units: str
    scale: float
    resolution: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _one_statistic_a_band(self) -> "ImageSpec":
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"{len(self.bands)} bands need as many means and stds, "
                f"not {len(self.mean)} and {len(self.std)}"
            )
        if min(self.std) <= 0 or self.scale <= 0:
            raise ValueError("std and scale must be above 0")
        return self


def load_size(image_size: int) -> int:
    """Side of the square that an image is resized to before a view of it is cropped.

    The paper resizes to 256 pixels and crops 224 (section 4.3); other sizes keep that ratio.

    Args:
        image_size: Side of the views that the encoder sees, in pixels.

    Returns:
        Side in pixels, for example 256 for 224 and 73 for 64.
    """
    return round(image_size * 256 / 224)


class EncoderConfig(BaseModel):
    """What must be known of an encoder to use it, beside its weights.

    Attributes:
        encoder: timm architecture.
        image_size: Side of the views it was trained on, in pixels.
        spec: The imagery it was trained on.
        dataset: Name of the data set it was trained on.
        epochs: Epochs it was trained for; 0 for random weights, ``None`` where unknown.
        supervised: Whether it was trained with labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    image_size: int
    spec: ImageSpec
    dataset: str
    epochs: int | None
    supervised: bool = False
