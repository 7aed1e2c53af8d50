"""OTL as a Lightning module."""

import math
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from rs_otl.augment import augmentation
from rs_otl.clustering import balanced_labels
from rs_otl.errors import InputError
from rs_otl.models import OutputHeads, create_encoder
from rs_otl.spec import PAPER_MEAN, PAPER_STD
from rs_otl.trainers.loss import label_consistent_loss


class OTLTask(LightningModule):
    """Representation learning by output translation (Li et al., Remote Sensing 2022).

    At the start of an epoch the network, in training mode, looks at ``views`` freshly
    augmented views of every training image; each view's outputs are translated until they
    fill the clusters evenly, and the arg-max are its labels. During the epoch every view of
    an image learns to predict the labels of all its views.

    Batches are dictionaries with ``image``, float32 in [0, 1] of shape ``(B, C, H, W)``, and
    ``index``, int64 ``(B,)``, the image's position in the training set: labels are kept by
    it. The images are augmented here, on their device. No ground-truth label is read.

    Everything random is seeded anew, from ``seed`` and the numbers of epoch and step, for each
    label pass and each step, and labels are part of the checkpoint: that is all the random
    state there is, so a run resumed at an epoch equals one that never stopped.

    Args:
        model: timm encoder.
        in_channels: Bands of the images.
        clusters: Outputs k of each head.
        heads: Number of heads, each with labels of its own.
        hidden: Width of the heads' hidden layer, 0 for the paper's linear heads.
        views: Views g of an image in each step.
        augment: ``"simple"`` or ``"strong"`` (see :mod:`rs_otl.augment`).
        size: Side of a view in pixels.
        mean: Mean of each band in [0, 1].
        std: Standard deviation of each band.
        rgb: Whether the bands are red, green and blue.
        lr: Learning rate of SGD at the start.
        milestones: Epochs at which it changes, ascending.
        milestone_lrs: What it changes to; as many. With no milestones it falls to 0 along a
            cosine.
        momentum: Of SGD.
        weight_decay: Of SGD.
        relabel_every: Epochs that labels are kept for.
        decay: Passed to :func:`rs_otl.clustering.balanced_labels`.
        seed: Of weights and views.
    """

    labels: Tensor | None
    """Pseudo-labels, ``(views, heads, N)`` int64, of the current epoch."""

    def __init__(
        self,
        model: str = "resnet18",
        in_channels: int = 3,
        clusters: int = 128,
        heads: int = 1,
        hidden: int = 0,
        views: int = 2,
        augment: str = "strong",
        size: int = 224,
        mean: Sequence[float] = PAPER_MEAN,
        std: Sequence[float] = PAPER_STD,
        rgb: bool = True,
        lr: float = 0.03,
        milestones: Sequence[int] = (),
        milestone_lrs: Sequence[float] = (),
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        relabel_every: int = 1,
        decay: float = 1.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = create_encoder(model, in_channels, seed)
        features = cast(int, self.encoder.num_features)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heads = OutputHeads(features, clusters, heads, hidden)
        # Most of a CPU step is convolutions, which run faster on this layout.
        self.to(memory_format=torch.channels_last)
        self.augment = augmentation(augment, size, mean, std, rgb)
        self.labels = None

    def forward(self, images: Tensor) -> Tensor:
        """Return outputs before softmax, float32 ``(heads, B, k)``, of normalised images.

        The heads are never run in half precision: its few bits would put many rows on ties,
        which no translation splits, and the labels could not become even.
        """
        features = self.encoder(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.heads(features.float())

    def view_outputs(self, images: Tensor) -> Tensor:
        """Return outputs ``(views, heads, B, k)`` of freshly augmented views of ``images``.

        One forward pass over the stacked views, so that batch normalisation sees them all.

        Args:
            images: float32 in [0, 1], ``(B, C, H, W)``.
        """
        views, batch = self.hparams["views"], len(images)
        with torch.autocast(images.device.type, enabled=False):
            stacked = torch.cat([self.augment(images) for _ in range(views)])
        outputs = self(stacked.contiguous(memory_format=torch.channels_last))
        return outputs.unflatten(1, (views, batch)).transpose(0, 1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the label-consistent loss of a batch, the mean over the heads."""
        outputs = self.view_outputs(batch["image"])
        assert self.labels is not None
        labels = self.labels[:, :, batch["index"]]
        loss = torch.stack(
            [
                label_consistent_loss(outputs[:, head], labels[:, head])
                for head in range(outputs.shape[1])
            ]
        ).mean()
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["index"]))
        return loss

    def on_train_epoch_start(self) -> None:
        """Renew the labels when it is time."""
        self._seed(self.current_epoch)
        start = time.perf_counter()
        if self.labels is None or self.current_epoch % self.hparams["relabel_every"] == 0:
            self._relabel()
        self._labels_done = time.perf_counter()
        self.log("label_seconds", self._labels_done - start)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step.

        Each step, since what loaders and callbacks draw in between differs between a run that
        was resumed and one that was not.
        """
        self._seed(self.current_epoch, batch_idx)

    def _seed(self, *moment: int) -> None:
        """Seed the global random state from the run's seed, the process and the moment."""
        entropy = [self.hparams["seed"], self.global_rank, *moment]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def on_train_batch_end(self, outputs: Any, *_: Any) -> None:
        """Log, after the last batch, what the epoch cost: callbacks end an epoch before tasks."""
        if not self.trainer.is_last_batch:
            return
        if not math.isfinite(outputs["loss"]):
            raise InputError(
                f"training has diverged in epoch {self.current_epoch + 1} (the loss is not "
                f"finite): lower the learning rate, now {self.hparams['lr']:g}"
            )
        seconds = time.perf_counter() - self._labels_done
        assert self.labels is not None
        self.log("train_seconds", seconds)
        self.log("images_per_second", self.labels.shape[-1] / seconds)
        self.log("ln_k", math.log(self.hparams["clusters"]))

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

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """Return SGD with the steps of section 4.3, or a cosine where there are none."""
        settings = self.hparams
        optimizer = torch.optim.SGD(
            self.parameters(),
            lr=settings["lr"],
            momentum=settings["momentum"],
            weight_decay=settings["weight_decay"],
        )
        epochs = self.trainer.max_epochs or 1

        def factor(epoch: int) -> float:
            if not settings["milestones"]:
                return 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            passed = sum(epoch >= milestone for milestone in settings["milestones"])
            rates = [settings["lr"], *settings["milestone_lrs"]]
            return rates[passed] / settings["lr"]

        return [optimizer], [LambdaLR(optimizer, factor)]


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
