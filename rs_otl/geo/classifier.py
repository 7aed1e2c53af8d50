"""From labelled embeddings to a classifier that can be kept, and how good it is."""

import warnings
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
from rs_otl.progress import tracked
from rs_otl.spec import ImageSize, Pool

with warnings.catch_warnings():
    # joblib's, where shared memory is full: nothing here runs in parallel.
    warnings.simplefilter("ignore")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

# Inverse strength of the classifier's ridge on features of length 1: docs/scenes.md says why.
STRENGTH = 300.0
# Of the gradient: the one optimum to six digits, so that the page of `rs-otl view` finds the same.
_TOLERANCE = 1e-8
MOST_CLASSES = 254
# Labels that are left out one at a time; more are left out in so many folds.
_MOST_LEFT_OUT_ALONE = 100
_FOLDS = 10
# Beyond any classifier of so many classes and any encoder.
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
    """A classifier as it is kept in a file: JSON, without code.

    Attributes:
        format: What the file is.
        classes: Names; the first has the value 1 in a map.
        colours: Of each class, as ``#rrggbb``.
        encoder: What the user called the encoder.
        fingerprint: Of the encoder.
        image_size: Side of the images that the encoder sees, in pixels.
        pool: How its features are pooled; ``None`` for its own rule.
        tile: Side of a tile of the labelled scene, in pixels.
        stride: Side of its cells.
        weights: Of each class, as many as an embedding has features.
        biases: Of each class.
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
        """Describe a classifier of embeddings that were made in some way."""
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
            InputError: There is none, or it is damaged or something else.
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


def fit(truth: NDArray[np.int64], features: Sequence[NDArray[np.float32]]) -> Linear:
    """Fit a logistic regression.

    Every label has the same weight however many tiles it has, and so has every class.

    Args:
        truth: Class of each label, (n,), of two classes or more.
        features: Embeddings of the tiles of each, n arrays (tiles, D).

    Returns:
        Weights of the classes that occur, ascending.
    """
    tiles = np.array([len(part) for part in features])
    weights = 1 / (tiles * np.bincount(truth)[truth])
    weights *= len(truth) / (weights * tiles).sum()
    rows = unit(np.concatenate(features)).astype(np.float64)
    basis = None
    if len(rows) < rows.shape[1]:  # the optimum lies in the span of the rows
        basis, inner = np.linalg.qr(rows.T)
        rows = inner.T
    model = LogisticRegression(C=STRENGTH, max_iter=10_000, tol=_TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that numbers of many classes might be measurements
        model.fit(rows, np.repeat(truth, tiles), np.repeat(weights, tiles))
    coefficients, intercepts = model.coef_, model.intercept_
    if basis is not None:
        coefficients = coefficients @ basis.T
    if len(model.classes_) == 2:  # scikit-learn keeps only the second class
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    return Linear(coefficients.astype(np.float32), intercepts.astype(np.float32))


def predict_left_out(
    truth: NDArray[np.int64],
    features: Sequence[NDArray[np.float32]],
    blocks: NDArray[np.int64],
    progress: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Predict labels, with all their tiles, from others.

    Up to 100 labels are left out one at a time; more in ten folds, each with the classes in equal
    shares as far as labels of one block stay together. A label is not tested if no other of its
    class is left to learn from.

    Args:
        truth: Class of each label, (n,).
        features: Embeddings of the tiles of each, n arrays (tiles, D).
        blocks: Number of the block of the scene that each label lies in, (n,).
        progress: Whether to show a bar.

    Returns:
        The class predicted for each label, (n,), -1 for one that was not tested; and its
        probability.
    """
    return _predicted(truth, features, _folds(truth, blocks), progress)


def predict_other_blocks(
    truth: NDArray[np.int64], features: Sequence[NDArray[np.float32]], blocks: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Predict labels from those of other parts of the scene.

    Blocks are left out whole, in ten folds (scikit-learn's ``GroupKFold``), or each alone where
    there are fewer. A label is not tested if no other block has one of its class.

    Args:
        truth: Class of each label, (n,).
        features: Embeddings of the tiles of each, n arrays (tiles, D).
        blocks: Number of the block of the scene that each label lies in, (n,).

    Returns:
        The class predicted for each label, (n,), -1 for one that was not tested.
    """
    count = min(_FOLDS, len(np.unique(blocks)))
    if count < 2:
        return np.full(len(truth), -1)
    folds = [part for _, part in GroupKFold(count).split(truth, groups=blocks)]
    return _predicted(truth, features, folds, False)[0]


def _predicted(
    truth: NDArray[np.int64],
    features: Sequence[NDArray[np.float32]],
    folds: Sequence[NDArray[np.int64]],
    progress: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Predict the labels of each fold from the others."""
    predicted = np.full(len(truth), -1)
    chance = np.zeros(len(truth))
    for left_out in tracked(folds, "Testing the labels", progress):
        kept = np.setdiff1d(np.arange(len(truth)), left_out)
        known = np.unique(truth[kept])
        if len(known) < 2:
            continue
        predict = fit(truth[kept], [features[number] for number in kept])
        for number in left_out[np.isin(truth[left_out], known)].tolist():
            chances = predict(features[number]).mean(0)
            predicted[number], chance[number] = known[chances.argmax()], chances.max()
    return predicted, chance


def _folds(truth: NDArray[np.int64], blocks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    tested = np.flatnonzero(np.bincount(truth)[truth] > 1)
    if len(tested) <= _MOST_LEFT_OUT_ALONE:
        return list(tested.reshape(-1, 1))
    groups = blocks[tested]
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(tested))
    count = min(_FOLDS, len(np.unique(groups)), int(np.bincount(truth[tested]).max()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # likewise, and of classes of fewer labels than folds
        splits = StratifiedGroupKFold(count).split(tested, truth[tested], groups)
        return [tested[part] for _, part in splits if len(part)]
