"""The paper's evaluation of a frozen encoder."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.errors import InputError, printable
from rs_otl.evaluation.feature_cache import cached_features, features_key
from rs_otl.evaluation.features import extract_features
from rs_otl.evaluation.intervals import bootstrap_interval
from rs_otl.evaluation.knn import NEIGHBOURS, knn_predict
from rs_otl.evaluation.layers import stage_features, stage_position, stages
from rs_otl.evaluation.linear import linear_predict
from rs_otl.evaluation.report import Evaluation, FewShot, Layer, Score
from rs_otl.evaluation.shots import few_shot
from rs_otl.models import Encoder

if TYPE_CHECKING:  # nothing here reads images
    from rs_otl.datasets import CachedDataset, Division

# Neighbours that vote on the last stage's map (section 4 of the paper).
_LAST_K = 50


def evaluate(
    encoder: Encoder,
    dataset: "CachedDataset",
    division: "Division",
    *,
    name: str | None = None,
    shots: Sequence[int] = (),
    layers: Sequence[int] = (),
    seed: int = 0,
    progress: bool = False,
    features_folder: Path | None = None,
) -> Evaluation:
    """Evaluate a frozen encoder by nearest neighbours and a linear classifier (section 4).

    The classifiers see the features and labels of the division's training images and are
    tested on its test images. The same seed on the same machine gives the same evaluation.

    Args:
        encoder: The encoder; left unchanged. The classifiers compute on its device too.
        dataset: Labelled images of at least two classes.
        division: Which images to learn from and which to test on.
        name: What the encoder is, in words; by default its ``source``.
        shots: Numbers of labelled images per class for few-shot scores.
        layers: Stages to probe as well, by their position in :func:`rs_otl.evaluation.stages`; -1
            is the last. Each needs memory for about 9,000 numbers an image.
        seed: Seed of the draws, the linear classifiers and the intervals.
        progress: Whether to show bars on standard error.
        features_folder: Where features are kept, so that an encoder's features of the same images
            are extracted once; by default nowhere.

    Returns:
        Scores, accuracy by class, confusion matrix, and notes on what limits them.

    Raises:
        InputError: If the data set has no labels or one class, or other bands, units or scaling
            than the encoder was trained on, a side of the division is empty, or the encoder has no
            such stages to probe.
    """
    positions = encoder.bands_among(dataset.spec)
    if positions != list(range(len(dataset.spec.bands))):
        dataset = dataset.of_bands(positions, encoder.config.spec)
    labels, classes = dataset.labels, dataset.classes
    if labels is None or classes is None:
        raise InputError(
            f"{dataset.name} has no labels, and an evaluation needs them: expected a "
            "sub-folder of images for each class"
        )
    if len(classes) < 2:
        raise InputError(f"{dataset.name} has only the class {classes[0]}: expected at least two")
    if not len(division.train) or not len(division.test):
        raise InputError(
            f"{dataset.name}: {len(division.train)} training and {len(division.test)} test "
            "images; expected at least one of each"
        )
    names = stages(encoder) if layers else ()
    probing = sorted(stage_position(encoder, layer) for layer in layers)

    def features(indices: NDArray[np.int64]) -> Tensor:
        def extract() -> Tensor:
            return extract_features(encoder, dataset, indices, progress)

        if features_folder is None:
            return extract().to(encoder.device)
        key = features_key(encoder, dataset.hashes[indices], dataset.reading)
        return cached_features(features_folder / f"{key}.safetensors", len(indices), extract).to(
            encoder.device
        )

    train_labels = torch.from_numpy(labels[division.train]).to(encoder.device)
    truth = torch.from_numpy(labels[division.test])
    data = (features(division.train), train_labels, features(division.test))

    def correct(predicted: Tensor) -> NDArray[np.bool_]:
        return (predicted.cpu() == truth).numpy()

    def score(predicted: Tensor) -> Score:
        low, high = bootstrap_interval(correct(predicted), seed)
        return Score(accuracy=float(correct(predicted).mean()), low=low, high=high)

    neighbours = knn_predict(*data, progress=progress)
    linear = linear_predict(*data, seed=seed, progress=progress)
    standardised = linear_predict(*data, standardise=True, seed=seed, progress=progress)
    probed = []
    for stage in probing:
        train, test = (
            stage_features(encoder, dataset, side, stage, progress).to(encoder.device)
            for side in (division.train, division.test)
        )
        by_stage = (train, train_labels, test)
        last = stage == len(names) - 1
        probed.append(
            Layer(
                name=names[stage],
                numbers=train.shape[1],
                linear=score(
                    linear_predict(*by_stage, standardise=True, seed=seed, progress=progress)
                ),
                knn=score(knn_predict(*by_stage, k=[_LAST_K])[_LAST_K]) if last else None,
            )
        )
    few = few_shot(
        *data, truth, tuple(map(printable, classes)), shots, seed=seed, progress=progress
    )
    pairs = truth * len(classes) + standardised.cpu()
    confusion = torch.bincount(pairs, minlength=len(classes) ** 2).view(len(classes), -1)
    right, of = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    return Evaluation(
        # JSON cannot hold names that are not UTF-8.
        encoder=printable(name or encoder.source),
        dataset=printable(dataset.name),
        division=division.number,
        image_size=encoder.config.image_size,
        seed=seed,
        n_train=len(division.train),
        n_test=len(division.test),
        classes=tuple(map(printable, classes)),
        knn={k: score(predicted) for k, predicted in neighbours.items()},
        linear=score(linear),
        linear_standardised=score(standardised),
        images=tuple(printable(dataset.paths[i]) for i in division.test),
        truth=tuple(truth.tolist()),
        predicted={
            "knn": tuple(neighbours[NEIGHBOURS[0]].tolist()),
            "linear": tuple(linear.tolist()),
            "linear_standardised": tuple(standardised.tolist()),
        },
        few_shot=few,
        per_class={
            printable(title): right[label] / of[label] if of[label] else None
            for label, title in enumerate(classes)
        },
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        notes=tuple(
            map(
                printable,
                (
                    *_absent(labels, classes, division),
                    *_short(few, len(classes)),
                    *_notes(dataset, division),
                ),
            )
        ),
        layers=tuple(probed),
    )


def _short(results: tuple[FewShot, ...], classes: int) -> Iterator[str]:
    """Name the classes with fewer than K training images."""
    for few in results:
        if len(few.short) == classes:
            yield (
                f"Fewer than {few.shots} training images in every class, all used: the draws "
                "are all the same, and their interval says nothing about noise"
            )
        elif few.short:
            yield f"Fewer than {few.shots} training images, all used: {_listed(list(few.short))}"


def _absent(
    labels: NDArray[np.int64], classes: tuple[str, ...], division: "Division"
) -> Iterator[str]:
    """Name the classes without images on one side of the division."""
    for side, indices, consequence in (
        ("training", division.train, "their test images cannot be predicted"),
        ("test", division.test, "they have no accuracy"),
    ):
        present = set(labels[indices].tolist())
        absent = [title for label, title in enumerate(classes) if label not in present]
        if absent:
            yield f"Classes without a {side} image, so {consequence}: {_listed(absent)}"


def _notes(dataset: "CachedDataset", division: "Division") -> Iterator[str]:
    """Say what else limits the scores."""
    n = len(division.train)
    cut = [str(k) for k in NEIGHBOURS if k > n]
    if cut:
        yield f"k = {', '.join(cut)} cut to {n}, the number of training images"
    if dataset.missing:
        yield f"The copy is partial: {_shortened(dataset.missing)}"
    if dataset.left_out:
        yield f"Files that could not be used: {len(dataset.left_out):,}"
    if division.duplicates.leaks:
        yield f"Test images with an identical training image: {division.duplicates.leaks:,}"
    if division.duplicates.conflicts:
        pairs = [f"{one} = {other}" for one, other in division.duplicates.conflicts]
        yield f"Identical images of different classes: {_listed(pairs)}"


def _listed(names: list[str]) -> str:
    return _shortened(", ".join(names))


def _shortened(text: str) -> str:
    return textwrap.shorten(text, 200, placeholder=" \N{HORIZONTAL ELLIPSIS}")
