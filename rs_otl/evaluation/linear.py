"""The paper's linear classifier on frozen features."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rs_otl.errors import InputError
from rs_otl.evaluation._checks import check_features
from rs_otl.progress import tracked


def linear_predict(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    standardise: bool = False,
    epochs: int = 120,
    batch_size: int = 256,
    lr: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Train one linear layer on frozen features, and predict labels with it.

    As in the paper (section 4 and its authors' code), the optimiser is Adam with a learning rate of
    1e-3, batches of 256 and 120 epochs, and features are used as they come. Adam's steps have the
    same length whatever the features' scale, and a few hundred images make few steps. Features of
    small spread, such as those of an untrained encoder, are then far from fitted. ``standardise``
    removes that handicap.

    Args:
        train_features: ``(n, D)``, floating point, n >= 1. The layer is trained on their
            device.
        train_labels: ``(n,)`` int64, at least 0.
        test_features: ``(m, D)``, on the same device.
        standardise: Whether to bring each feature to mean 0 and standard deviation 1, both
            taken from the training features.
        epochs: Passes over the training features.
        batch_size: Rows in a step.
        lr: Adam's learning rate.
        seed: Seed of the initial weights and the order of the rows; the global random state is
            neither read nor changed.
        progress: Whether to show a bar on standard error.

    Returns:
        Predicted labels ``(m,)`` int64, on the features' device; only labels that occur in
        ``train_labels``.

    Raises:
        InputError: If a shape or value is not as above.
    """
    check_features(train_features, train_labels, test_features)
    if epochs < 1 or batch_size < 1 or not lr > 0:
        raise InputError(
            f"epochs = {epochs}, batch_size = {batch_size}, lr = {lr}: expected epochs and "
            "batch_size of at least 1, lr above 0"
        )
    train, test = train_features.float(), test_features.float()
    if standardise:
        train, test = standardised(train, test)
    # Only labels that occur have an output: others would keep random weights, and could win.
    present, targets = train_labels.unique(return_inverse=True)
    (predicted,) = fit_linear(
        train[None],
        targets[None],
        test,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        progress=progress,
    )
    return present[predicted]


def fit_linear(
    train: Tensor,
    targets: Tensor,
    test: Tensor,
    *,
    epochs: int = 120,
    batch_size: int = 256,
    lr: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Train several linear layers side by side, as :func:`linear_predict` trains one.

    All layers start from the same weights and see their rows in the same order, and Adam treats
    every weight by itself. So each layer learns the same as it would alone.

    Args:
        train: Rows of each layer, ``(L, n, D)``.
        targets: ``(L, n)`` int64, from 0 on.
        test: ``(m, D)``.
        epochs: Passes over the rows.
        batch_size: Rows in a step.
        lr: Adam's learning rate.
        seed: Seed of the initial weights and the order of the rows.
        progress: Whether to show a bar on standard error.

    Returns:
        Predicted targets ``(L, m)`` int64.
    """
    layers, rows, features = train.shape
    classes = int(targets.max()) + 1
    # Drawn on the CPU, so that the result does not depend on the device.
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(features)  # as torch initialises a linear layer
    weight = torch.empty(classes, features).uniform_(-bound, bound, generator=generator)
    bias = torch.empty(classes).uniform_(-bound, bound, generator=generator)
    weights, biases = (
        nn.Parameter(one.to(train.device).repeat(layers, 1, 1)) for one in (weight, bias[None])
    )
    optimizer = torch.optim.Adam([weights, biases], lr=lr)
    for _ in tracked(range(epochs), "Linear classifier", progress):
        order = torch.randperm(rows, generator=generator).to(train.device)
        for batch in order.split(batch_size):
            outputs = torch.baddbmm(biases, train[:, batch], weights.mT)
            loss = F.cross_entropy(outputs.flatten(0, 1), targets[:, batch].flatten())
            optimizer.zero_grad()
            (layers * loss).backward()  # the mean over the rows of one layer, for each layer
            optimizer.step()
    with torch.no_grad():
        return torch.stack(
            [(test @ one.T + two).argmax(1) for one, two in zip(weights, biases, strict=True)]
        )


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Bring each feature to mean 0 and standard deviation 1, both of the training features.

    Args:
        train: ``(n, D)``.
        test: ``(m, D)``.

    Returns:
        Both, scaled; a feature without spread is only centred.
    """
    mean, std = train.mean(0), train.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    return (train - mean) / std, (test - mean) / std
