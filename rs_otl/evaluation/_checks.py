"""Checks that the classifiers share."""

from torch import Tensor

from rs_otl.errors import InputError


def check_features(train_features: Tensor, train_labels: Tensor, test_features: Tensor) -> None:
    """Check that features and labels belong together.

    Args:
        train_features: Expected ``(n, D)``, n >= 1.
        train_labels: Expected ``(n,)``, integers of at least 0.
        test_features: Expected ``(m, D)``.

    Raises:
        InputError: If they have other shapes or values.
    """
    if (
        train_features.ndim != 2
        or test_features.ndim != 2
        or len(train_features) == 0
        or train_labels.shape != train_features.shape[:1]
        or train_features.shape[1] != test_features.shape[1]
    ):
        raise InputError(
            f"training features {tuple(train_features.shape)} with labels "
            f"{tuple(train_labels.shape)} and test features {tuple(test_features.shape)}: "
            "expected (n, D), (n,) and (m, D), n at least 1"
        )
    if train_labels.is_floating_point() or int(train_labels.min()) < 0:
        raise InputError(
            f"labels of dtype {train_labels.dtype}, the lowest {train_labels.min().item()}: "
            "expected integers of at least 0"
        )
