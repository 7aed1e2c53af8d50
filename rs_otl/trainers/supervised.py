"""The paper's supervised baseline as a Lightning module."""

import math
from typing import Unpack

import torch
from torch import Tensor

from rs_otl.models import OutputHeads
from rs_otl.trainers.views import ViewSettings, ViewTask


class SupervisedTask(ViewTask):
    """Training with labels, otherwise as :class:`OTLTask`: same encoder, views and schedule.

    What the paper compares OTL with (section 4.3). Batches are dictionaries with ``image``,
    float32 in [0, 1] of shape ``(B, C, H, W)``, and ``label``, int64 ``(B,)`` in
    [0, classes).

    Args:
        classes: Number of classes.
        **settings: Those of every :class:`ViewTask`.
    """

    def __init__(self, classes: int, **settings: Unpack[ViewSettings]) -> None:
        super().__init__(**settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.hparams["seed"])
            self.heads = OutputHeads(self.features, classes)

    def batch_labels(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the classes of a batch for each view: ``(views, 1, B)`` int64."""
        return batch["label"].expand(self.hparams["views"], 1, -1)

    def on_train_epoch_start(self) -> None:
        """Log what the loss of a network that knows nothing would be."""
        super().on_train_epoch_start()
        self.log("ln_k", math.log(self.hparams["classes"]))
