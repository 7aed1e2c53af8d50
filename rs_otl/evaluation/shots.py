"""Accuracy with a few labelled images per class."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.errors import InputError
from rs_otl.evaluation._checks import check_features
from rs_otl.evaluation.intervals import t_interval
from rs_otl.evaluation.knn import knn_predict
from rs_otl.evaluation.linear import fit_linear, standardised
from rs_otl.evaluation.report import CLASSIFIERS, Classifier, FewShot, Score
from rs_otl.progress import tracked

DRAWS = 10


def draw_shots(labels: NDArray[np.int64], shots: int, draw: int, seed: int = 0) -> Tensor:
    """Draw K labelled images of each class.

    A draw depends only on the labels, its number and the seed, so that it is the same for every
    encoder; the images of a small K are among those of a larger K.

    Args:
        labels: Labels of the training images, ``(n,)``.
        shots: Images K per class, at least 1. A class with fewer images gives all of them.
        draw: Number of the draw, from 0.
        seed: Seed of all draws.

    Returns:
        Positions in ``labels``, ``(m,)`` int64, class by class.
    """
    random = np.random.default_rng((seed, draw))
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:shots] for label in np.unique(labels)
    ]
    return torch.from_numpy(np.concatenate(chosen))


def class_mean_predict(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor
) -> Tensor:
    """Predict the class whose mean direction is nearest by cosine similarity.

    Args:
        train_features: ``(n, D)``, floating point, n >= 1; only directions count.
        train_labels: ``(n,)`` int64, at least 0.
        test_features: ``(m, D)``, on the same device.

    Returns:
        Predicted labels ``(m,)`` int64; only labels that occur in ``train_labels``.

    Raises:
        InputError: If a shape or value is not as above.
    """
    check_features(train_features, train_labels, test_features)
    present, positions = train_labels.unique(return_inverse=True)
    train = F.normalize(train_features.float(), dim=1)
    sums = torch.zeros(len(present), train.shape[1], device=train.device)
    sums.index_add_(0, positions, train)
    # Sums have the directions of means; the length of a test image's features changes no winner.
    return present[(test_features.float() @ F.normalize(sums, dim=1).T).argmax(1)]


def few_shot(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    truth: Tensor,
    classes: Sequence[str],
    shots: Sequence[int],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    progress: bool = False,
) -> tuple[FewShot, ...]:
    """Evaluate features by classifiers that see K labelled images per class.

    The linear classifier's features are standardised by all training images, which needs no
    labels; a few images are too few to estimate a standard deviation.

    Args:
        train_features: ``(n, D)``, n >= 1.
        train_labels: ``(n,)`` int64.
        test_features: ``(m, D)``, on the same device.
        truth: Labels of the test images, ``(m,)`` int64.
        classes: Class names in the order of the labels.
        shots: The numbers K, each at least 1.
        draws: Draws of each K, at least 2.
        seed: Seed of the draws and the linear classifiers.
        progress: Whether to show a bar on standard error.

    Returns:
        Scores for each K, ascending.

    Raises:
        InputError: If a K is below 1 or there are fewer than two draws.
    """
    if draws < 2 or any(count < 1 for count in shots):
        raise InputError(
            f"shots = {tuple(shots)}, draws = {draws}: expected at least 1 image per class and at "
            "least 2 draws"
        )
    labels = train_labels.cpu().numpy()
    available = np.bincount(labels, minlength=len(classes))
    scaled, scaled_test = standardised(train_features, test_features)
    present, targets = train_labels.unique(return_inverse=True)
    truth = truth.cpu()
    results = []
    for count in tracked(sorted(set(shots)), "Few-shot", progress):
        hits: dict[Classifier, list[float]] = {classifier: [] for classifier in CLASSIFIERS}
        drawn = torch.stack([draw_shots(labels, count, draw, seed) for draw in range(draws)])
        drawn = drawn.to(train_features.device)
        linear = present[fit_linear(scaled[drawn], targets[drawn], scaled_test, seed=seed)]
        for rows, by_layer in zip(drawn, linear, strict=True):
            few = train_features[rows], train_labels[rows], test_features
            predictions: dict[Classifier, Tensor] = {
                "knn": knn_predict(*few, k=[10])[10],
                "class_mean": class_mean_predict(*few),
                "linear": by_layer,
            }
            for classifier, predicted in predictions.items():
                hits[classifier].append(float((predicted.cpu() == truth).float().mean()))
        results.append(
            FewShot(
                shots=count,
                scores={classifier: _score(values) for classifier, values in hits.items()},
                draws={classifier: tuple(values) for classifier, values in hits.items()},
                short=tuple(
                    name for name, images in zip(classes, available, strict=True) if images < count
                ),
            )
        )
    return tuple(results)


def _score(values: list[float]) -> Score:
    low, high = t_interval(np.array(values))
    return Score(accuracy=float(np.mean(values)), low=low, high=high)
