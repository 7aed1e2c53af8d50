"""OTL as a Lightning module."""

import math
import sys
import time
from typing import Any, Unpack

import numpy as np
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from rs_otl.clustering import balanced_labels
from rs_otl.errors import InputError
from rs_otl.models import OutputHeads
from rs_otl.trainers.views import ViewSettings, ViewTask


class OTLTask(ViewTask):
    """Representation learning by output translation (Li et al., Remote Sensing 2022).

    At the start of an epoch the network, in training mode, looks at ``views`` freshly
    augmented views of every training image; each view's outputs are translated until they
    fill the clusters evenly, and the arg-max are its labels. During the epoch every view of
    an image learns to predict the labels of all its views.

    Batches are dictionaries with ``image``, float32 in [0, 1] of shape ``(B, C, H, W)``, and
    ``index``, int64 ``(B,)``, the image's position in the training set: labels are kept by
    it, and are part of the checkpoint. No ground-truth label is read.

    Args:
        clusters: Outputs k of each head.
        heads: Number of heads, each with labels of its own.
        hidden: Width of the heads' hidden layer, 0 for the paper's linear heads.
        relabel_every: Epochs that labels are kept for.
        decay: Passed to :func:`rs_otl.clustering.balanced_labels`.
        **settings: Those of every :class:`ViewTask`.
    """

    labels: Tensor | None
    """Pseudo-labels, ``(views, heads, N)`` int64, of the current epoch."""

    def __init__(
        self,
        clusters: int = 128,
        heads: int = 1,
        hidden: int = 0,
        relabel_every: int = 1,
        decay: float = 1.5,
        **settings: Unpack[ViewSettings],
    ) -> None:
        super().__init__(**settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.hparams["seed"])
            self.heads = OutputHeads(self.features, clusters, heads, hidden)
        self.labels = None

    def batch_labels(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the pseudo-labels of a batch: ``(views, heads, B)`` int64 in [0, k)."""
        assert self.labels is not None
        return self.labels[:, :, batch["index"]]

    def on_train_epoch_start(self) -> None:
        """Renew the labels when it is time."""
        super().on_train_epoch_start()
        if self.labels is None or self.current_epoch % self.hparams["relabel_every"] == 0:
            self._relabel()
        now = time.perf_counter()
        self.log("label_seconds", now - self._began)
        self.log("ln_k", math.log(self.hparams["clusters"]))
        self._began = now

    @torch.no_grad()
    def _relabel(self) -> None:
        """Look at fresh views of every training image and label them (section 3.3)."""
        outputs = self._all_outputs()
        views, heads, rows, _ = outputs.shape
        labels = torch.empty(views, heads, rows, dtype=torch.int64, device=outputs.device)
        found = []
        for view in range(views):
            for head in range(heads):
                result = balanced_labels(outputs[view, head], decay=self.hparams["decay"])
                labels[view, head] = result.labels
                found.append(result)
        self.log("std", float(np.mean([result.std for result in found])))
        self.log("initial_std", float(np.mean([result.initial_std for result in found])))
        self.log("initial_empty", float(np.mean([result.initial_empty for result in found])))
        if self.labels is not None:
            self.log("changed", (labels != self.labels).float().mean())
        if views > 1:
            self.log("agreement", _agreement(labels))
        self.labels = labels

    def _all_outputs(self) -> Tensor:
        """Return the outputs ``(views, heads, N, k)`` of all training images, by index."""
        loader: Any = self.trainer.train_dataloader
        dataset, clusters = loader.dataset, self.hparams["clusters"]
        if len(dataset) < clusters:
            raise InputError(
                f"{clusters} clusters for {len(dataset)} training images: "
                "expected at least an image a cluster; set clusters lower"
            )
        # Every image, where the training loader drops the last batch; and shuffled as there:
        # images lie on disk class by class, and batch normalisation over a batch of one class
        # would take away what that class has in common.
        everything = DataLoader(
            dataset,
            batch_size=loader.batch_size,
            shuffle=True,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )
        bar = self.trainer.progress_bar_callback
        silent = not isinstance(bar, TQDMProgressBar) or bar.is_disabled
        shape = (self.hparams["views"], self.hparams["heads"], len(dataset), clusters)
        outputs = torch.empty(shape, device=self.device)
        for batch in tqdm(everything, "labels", file=sys.stderr, leave=False, disable=silent):
            if "index" not in batch:
                raise InputError(
                    "a training batch without 'index': expected each sample to carry its "
                    "position in the data set; labels are kept by it"
                )
            batch = self.trainer.strategy.batch_to_device(batch, self.device)
            with self.trainer.precision_plugin.forward_context():
                outputs[:, :, batch["index"]] = self.view_outputs(batch["image"])
        return outputs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the labels: they outlive an epoch when ``relabel_every`` is above 1."""
        checkpoint["labels"] = self.labels

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the labels back."""
        self.labels = checkpoint["labels"]

    def on_fit_start(self) -> None:
        """Bring restored labels to the device."""
        if self.labels is not None:
            self.labels = self.labels.to(self.device)


def _agreement(labels: Tensor) -> Tensor:
    """Return the share of pairs of views of an image that have the same label.

    Args:
        labels: ``(views, heads, N)`` with at least two views.
    """
    views = labels.shape[0]
    same = sum(
        (labels[a] == labels[b]).float().mean() for a in range(views) for b in range(a + 1, views)
    )
    return torch.as_tensor(same) / (views * (views - 1) / 2)
