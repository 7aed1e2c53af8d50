"""Accuracy with a handful of labelled images a class."""

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
from rs_otl.evaluation.linear import linear_predict
from rs_otl.evaluation.report import CLASSIFIERS, Classifier, FewShot, Score
from rs_otl.progress import tracked

DRAWS = 10


def draw_shots(labels: NDArray[np.int64], shots: int, draw: int, seed: int = 0) -> Tensor:
    """Draw K labelled images of each class.

    A draw depends on the labels, its number and the seed alone, so every encoder has the same;
    and the images of a small K are among those of a larger one.

    Args:
        labels: Of the training images, ``(n,)``.
        shots: Images K a class, at least 1. A class with fewer gives all it has.
        draw: Number of the draw, from 0.
        seed: Of all draws.

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
        Predicted labels ``(m,)`` int64; only such as occur in ``train_labels``.

    Raises:
        InputError: If a shape or value is not as above.
    """
    check_features(train_features, train_labels, test_features)
    present, positions = train_labels.unique(return_inverse=True)
    train = F.normalize(train_features.float(), dim=1)
    sums = torch.zeros(len(present), train.shape[1], device=train.device)
    sums.index_add_(0, positions, train)
    # The mean's length does not matter to a direction, nor does the test image's.
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
    """Judge features by classifiers that see K labelled images a class.

    The linear classifier's features are standardised by all training images, which takes no
    label; a handful of them would not tell a standard deviation.

    Args:
        train_features: ``(n, D)``, n >= 1.
        train_labels: ``(n,)`` int64.
        test_features: ``(m, D)``, on the same device.
        truth: Labels of the test images, ``(m,)`` int64.
        classes: Class names in the order of the labels.
        shots: The numbers K, each at least 1.
        draws: Draws of each K, at least 2.
        seed: Of the draws and the linear classifiers.
        progress: Whether to show a bar on standard error.

    Returns:
        Scores for each K, ascending.

    Raises:
        InputError: If a K is below 1 or there are fewer than two draws.
    """
    if draws < 2 or any(count < 1 for count in shots):
        raise InputError(
            f"shots = {tuple(shots)}, draws = {draws}: expected at least 1 image a class and at "
            "least 2 draws"
        )
    labels = train_labels.cpu().numpy()
    available = np.bincount(labels, minlength=len(classes))
    mean, std = train_features.mean(0), train_features.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    scaled, scaled_test = (train_features - mean) / std, (test_features - mean) / std
    truth = truth.cpu()
    found = []
    for count in tracked(sorted(set(shots)), "Few-shot", progress):
        hits: dict[Classifier, list[float]] = {classifier: [] for classifier in CLASSIFIERS}
        for draw in range(draws):
            rows = draw_shots(labels, count, draw, seed).to(train_features.device)
            few = train_features[rows], train_labels[rows], test_features
            predictions: dict[Classifier, Tensor] = {
                "knn": knn_predict(*few, k=[10])[10],
                "class_mean": class_mean_predict(*few),
                "linear": linear_predict(scaled[rows], train_labels[rows], scaled_test, seed=seed),
            }
            for classifier, predicted in predictions.items():
                hits[classifier].append(float((predicted.cpu() == truth).float().mean()))
        found.append(
            FewShot(
                shots=count,
                scores={classifier: _score(values) for classifier, values in hits.items()},
                draws={classifier: tuple(values) for classifier, values in hits.items()},
                short=tuple(
                    name for name, images in zip(classes, available, strict=True) if images < count
                ),
            )
        )
    return tuple(found)


def _score(values: list[float]) -> Score:
    low, high = t_interval(np.array(values))
    return Score(accuracy=float(np.mean(values)), low=low, high=high)
