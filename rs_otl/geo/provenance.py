"""What a file of embeddings, or a map of them, says about how it was made."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rs_otl.errors import InputError
from rs_otl.spec import Pool

_PREFIX = "RS_OTL_"
_Count = Annotated[int, Field(ge=1)]
_Pixels = Annotated[int, Field(ge=0)]


class Provenance(BaseModel):
    """Scene, grid and encoder of a file, kept in its tags as ``RS_OTL_<NAME>``.

    Attributes:
        version: Version of rs-otl.
        scene: File name of the scene, or id of its STAC item.
        source: Address of the scene or of its STAC item, if it is no plain path.
        scene_size: Width and height in pixels of the scene, or of its block.
        before: Rows and columns of pixels of the scene above and left of the block.
        after: Rows and columns of pixels of the scene below and right of the block.
        tile: Side of a tile in pixels.
        stride: Side of a cell in pixels.
        bands: The scene's bands that the encoder saw.
        encoder: The name that the user gave for the encoder.
        weights: Fingerprint of the encoder.
        architecture: Architecture of the encoder.
        trained_on: Data set that the encoder was trained on.
        image_size: Side of the images that the encoder sees, in pixels.
        pool: How the encoder pools features; ``None`` for its own rule.
        precision: Precision of the encoder's forward pass.
        scale: The raw value ``offset + scale`` becomes 1.0.
        offset: Raw value that becomes 0.
        units: What a raw value counts.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band.
        nodata: Stored value that meant there is no data, in addition to what the scene says.
        components: Principal components kept; ``None`` for whole embeddings.
        classes: Class names of a map, from value 1; empty for embeddings.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str
    scene: str
    scene_size: tuple[_Count, _Count]
    tile: _Count
    stride: _Count
    bands: tuple[str, ...]
    encoder: str
    weights: str
    architecture: str
    trained_on: str
    image_size: _Count
    precision: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    offset: float = 0.0
    pool: Pool | None = None
    units: str = "8-bit counts"
    nodata: float | None = None
    source: str | None = None
    before: tuple[_Pixels, _Pixels] = (0, 0)
    after: tuple[_Pixels, _Pixels] = (0, 0)
    components: _Count | None = None
    classes: tuple[str, ...] = ()

    def tags(self) -> dict[str, str]:
        """Return the tags of a file."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return {
            f"{_PREFIX}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], path: Any) -> "Provenance":
        """Read the tags of a file.

        Args:
            tags: Tags as :meth:`tags` returns them; others are ignored.
            path: The file, for errors.

        Raises:
            InputError: Tags are missing or damaged.
        """
        values: dict[str, Any] = {}
        for name, field in cls.model_fields.items():
            text = tags.get(f"{_PREFIX}{name.upper()}")
            if text is None:
                continue
            try:
                values[name] = text if field.annotation is str else json.loads(text)
            except (ValueError, RecursionError):
                values[name] = text
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            tag = f"{_PREFIX}{'_'.join(map(str, first['loc'][:1])).upper()}"
            raise InputError(
                f"{path}: expected a GeoTIFF that `rs-otl embed` or `map` of this version wrote, "
                f"its tag {tag}: {first['msg'].lower()}; embed the scene again"
            ) from None
