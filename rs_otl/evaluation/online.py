"""Evaluating an encoder while it trains."""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import nn

from rs_otl.errors import InputError
from rs_otl.evaluation.features import extract_features
from rs_otl.evaluation.knn import knn_predict
from rs_otl.evaluation.spreading import MOST_ROWS, spread
from rs_otl.models import Encoder
from rs_otl.spec import EncoderConfig

if TYPE_CHECKING:  # nothing here reads images
    from rs_otl.datasets import CachedDataset


class OnlineKNN(Callback):
    """Log the weighted nearest-neighbour accuracy of ``pl_module.encoder`` as ``knn``.

    It is logged at the end of an epoch, in [0, 1], with the :func:`rs_otl.evaluation.spread` of
    the features of the predicted images. Labels are for watching the training only:
    weights, buffers and random states are the same with this callback and without.

    Args:
        dataset: Labelled images.
        train: Positions of the images that vote, ``(n,)`` int64.
        test: Positions of the images that are predicted, ``(m,)`` int64.
        config: What the encoder expects of images.
        every: Epochs from one score to the next; the last epoch always has a score.
        k: Neighbours that vote, at most n.

    Raises:
        InputError: If the data set has no labels.
    """

    def __init__(
        self,
        dataset: "CachedDataset",
        train: NDArray[np.int64],
        test: NDArray[np.int64],
        config: EncoderConfig,
        every: int = 1,
        k: int = 10,
    ) -> None:
        if dataset.labels is None:
            raise InputError(f"{dataset.name} has no labels: the online kNN score needs them")
        self.dataset = dataset
        self.labels = torch.from_numpy(dataset.labels)
        self.train = train
        self.test = test
        self.config = config
        self.every = every
        self.k = k

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the score every ``every`` epochs, and after the last."""
        if not _due(trainer, self.every):
            return
        encoder = Encoder(cast(nn.Module, pl_module.encoder), self.config)
        train, test = (
            extract_features(encoder, self.dataset, indices) for indices in (self.train, self.test)
        )
        predicted = knn_predict(train, self.labels[self.train], test, k=[self.k])[self.k]
        correct = (predicted == self.labels[self.test]).float().mean()
        pl_module.log("knn", correct, prog_bar=True, sync_dist=True)
        pl_module.log_dict(spread(test), sync_dist=True)


class OnlineSpread(Callback):
    """Log the :func:`rs_otl.evaluation.spread` of the features of ``pl_module.encoder``.

    It is for images without labels, which have no accuracy. Weights, buffers and random states are
    the same with this callback and without.

    Args:
        dataset: Images.
        indices: Positions of the images to use, ``(n,)`` int64, n >= 2; at most 2,048 are used.
        config: What the encoder expects of images.
        every: Epochs from one value to the next; the last epoch always has a value.
    """

    def __init__(
        self,
        dataset: "CachedDataset",
        indices: NDArray[np.int64],
        config: EncoderConfig,
        every: int = 1,
    ) -> None:
        self.dataset = dataset
        self.indices = indices[:MOST_ROWS]
        self.config = config
        self.every = every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the spread every ``every`` epochs, and after the last."""
        if _due(trainer, self.every):
            encoder = Encoder(cast(nn.Module, pl_module.encoder), self.config)
            features = extract_features(encoder, self.dataset, self.indices)
            pl_module.log_dict(spread(features), sync_dist=True)


def _due(trainer: Trainer, every: int) -> bool:
    epoch = trainer.current_epoch + 1
    return not epoch % every or epoch == trainer.max_epochs
