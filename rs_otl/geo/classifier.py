"""The classifier of maps, and the file that stores it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from rs_otl.errors import InputError
from rs_otl.files import atomic_write
from rs_otl.geo.provenance import Provenance
from rs_otl.geo.similar import unit
from rs_otl.spec import ImageSize, Pool

# Inverse strength of the classifier's ridge on features of length 1: docs/scenes.md says why.
STRENGTH = 300.0
MOST_CLASSES = 254
# More than a classifier of any encoder needs.
_MOST_BYTES = 256 * 2**20

Colour = Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]
_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Linear:
    """Weights of a softmax over classes.

    Attributes:
        weights: (classes, D).
        biases: (classes,).
    """

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each class, (n, classes), for embeddings (n, D)."""
        scores = unit(rows) @ self.weights.T + self.biases
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(chances / chances.sum(axis=1, keepdims=True))


class Classifier(BaseModel):
    """A classifier as it is stored in a file: JSON, without code.

    Attributes:
        format: What the file is.
        classes: Names of the classes; the first has the value 1 in a map.
        colours: Colour of each class, as ``#rrggbb``.
        encoder: The name that the user gave for the encoder.
        fingerprint: Fingerprint of the encoder.
        image_size: Side of the images that the encoder sees, in pixels.
        pool: How the encoder pools features; ``None`` for its own rule.
        tile: Side of a tile of the labelled scene, in pixels.
        stride: Side of a cell of the labelled scene, in pixels.
        weights: Weights of each class, one per feature.
        biases: Bias of each class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["rs-otl classifier, version 1"]
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=MOST_CLASSES)]
    colours: tuple[Colour, ...]
    encoder: str
    fingerprint: str
    image_size: ImageSize
    pool: Pool | None = None
    tile: _Count
    stride: _Count
    weights: tuple[tuple[FiniteFloat, ...], ...]
    biases: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _all_of_one_size(self) -> "Classifier":
        count = len(self.classes)
        if not count == len(set(self.classes)) == len(self.colours) == len(self.biases):
            raise ValueError(f"expected {count} classes of different names, colours and biases")
        if len(self.weights) != count or len({len(row) for row in self.weights}) != 1:
            raise ValueError(f"expected {count} rows of weights of one length")
        return self

    @classmethod
    def of(
        cls, linear: Linear, classes: Sequence[str], colours: Sequence[str], made: Provenance
    ) -> "Classifier":
        """Describe a classifier, and how its embeddings were made."""
        return cls(
            format="rs-otl classifier, version 1",
            classes=tuple(classes),
            colours=tuple(colours),
            encoder=made.encoder,
            fingerprint=made.weights,
            image_size=made.image_size,
            pool=made.pool,
            tile=made.tile,
            stride=made.stride,
            weights=tuple(map(tuple, linear.weights.tolist())),
            biases=tuple(linear.biases.tolist()),
        )

    def linear(self) -> Linear:
        """Return the weights as arrays."""
        return Linear(np.array(self.weights, np.float32), np.array(self.biases, np.float32))

    def write(self, path: Path) -> None:
        """Write the file."""
        with atomic_write(path, new=True) as aside:
            aside.write_text(self.model_dump_json(), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Classifier":
        """Read a file.

        Raises:
            InputError: There is no such file, it is damaged, or it is another kind of file.
        """
        advice = "expected a file that `rs-otl map --save-classifier` wrote"
        if not path.is_file():
            raise InputError(f"{path}: no such file, {advice}")
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: too large for a classifier, {advice}")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise InputError(
                f"{path}: {f'{key}: ' if key else ''}{first['msg'].lower()}; {advice}"
            ) from None
