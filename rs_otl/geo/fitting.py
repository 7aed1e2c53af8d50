"""Fit the classifier of maps, and test it on left-out labels, with scikit-learn."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rs_otl.geo.classifier import STRENGTH, Linear
from rs_otl.geo.similar import unit
from rs_otl.progress import tracked

with warnings.catch_warnings():
    # joblib warns if shared memory is full, but nothing here runs in parallel.
    warnings.simplefilter("ignore")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

# Of the gradient: gives six digits of the optimum, so the page of `rs-otl view` finds the same.
_TOLERANCE = 1e-8
# Up to so many labels are left out one at a time, more in this number of folds.
_MOST_LEFT_OUT_ALONE = 100
_FOLDS = 10


def fit(truth: NDArray[np.int64], features: Sequence[NDArray[np.float32]]) -> Linear:
    """Fit a logistic regression.

    All classes have the same weight, and so have all labels of a class, whatever their number of
    tiles.

    Args:
        truth: Class of each label, (n,), of two classes or more.
        features: Embeddings of the tiles of each label, n arrays (tiles, D).

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
        warnings.simplefilter("ignore")  # that so many classes look like a regression
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
    """Predict labels that are left out, with all their tiles, from the others.

    Up to 100 labels are left out one at a time; more are left out in ten folds. Labels of one block
    stay together; as far as this allows, each fold has the same shares of the classes. A label is
    not tested if its fold leaves no other label of its class, or of one class only.

    Args:
        truth: Class of each label, (n,).
        features: Embeddings of the tiles of each label, n arrays (tiles, D).
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
    """Predict labels from labels in other parts of the scene.

    Blocks are left out whole, in ten folds (scikit-learn's ``GroupKFold``), or one at a time if
    there are fewer. A label is not tested if the other folds have no label of its class.

    Args:
        truth: Class of each label, (n,).
        features: Embeddings of the tiles of each label, n arrays (tiles, D).
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
        warnings.simplefilter("ignore")  # as in fit(); and that classes have too few labels
        splits = StratifiedGroupKFold(count).split(tested, truth[tested], groups)
        return [tested[part] for _, part in splits if len(part)]
