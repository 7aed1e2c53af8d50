"""OTL as a Lightning module."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, Unpack, cast

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from rs_otl.augment import as_unit
from rs_otl.clustering import LABELLERS, balanced_labels, cluster_directions
from rs_otl.errors import InputError
from rs_otl.models import CosineHead, OutputHeads, evaluation_transforms
from rs_otl.trainers.views import ViewSettings, ViewTask

RELABEL = ("fresh", "reuse")


class OTLTask(ViewTask):
    """Representation learning by output translation (Li et al., Remote Sensing 2022).

    At the start of an epoch the network, in training mode, looks at ``views`` freshly
    augmented views of every training image; each view's outputs are translated until they
    fill the clusters evenly, and the arg-max are its labels. During the epoch every view of
    an image learns to predict the labels of all its views.

    Batches are dictionaries with ``image``, float32 in [0, 1] or uint8 of shape
    ``(B, C, H, W)``, and ``index``, int64 ``(B,)``, the image's position in the training set:
    labels are kept by it, and are part of the checkpoint. No ground-truth label is read.

    With a ``temperature`` it adapts an encoder that knows something already, whose features say
    more than a random head: labels are made from the features of the plain test view, in
    evaluation mode. Their k-means directions fill a cosine head, their similarities to these
    are translated, and all views of an image share its label. With as many clusters as images
    each image is a cluster of its own.

    Of several processes each looks at a share of the images, none twice; their outputs stay where
    they are, and the labels, those of one process, are known to all.

    Args:
        clusters: Outputs k of each head.
        heads: Number of heads, each with labels of its own.
        hidden: Width of the heads' hidden layer, 0 for the paper's linear heads.
        relabel_every: Epochs that labels are kept for.
        relabel: What labels are renewed from. ``"fresh"``: outputs of views made for them, in
            a pass of its own, as in the paper. ``"reuse"``: the outputs that the epoch's steps
            had anyway, each of the network as it was then; only the first labels, and images
            whose batch was dropped, take a pass.
        labeller: How outputs become labels, see :func:`rs_otl.clustering.balanced_labels`.
        decay: Likewise.
        temperature: Of a cosine head that is filled from the encoder's features; without one,
            the heads are learnt. It goes with one head and no hidden layer.
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
        relabel: str = "fresh",
        labeller: str = "translation",
        decay: float = 1.5,
        temperature: float | None = None,
        **settings: Unpack[ViewSettings],
    ) -> None:
        super().__init__(**settings)
        if temperature is not None and (heads > 1 or hidden):
            raise InputError(
                f"temperature = {temperature} with heads = {heads} and hidden = {hidden}: a head "
                "filled from features is one head without hidden layer; expected 1 and 0"
            )
        if relabel not in RELABEL:
            raise InputError(f"relabel = {relabel!r}: expected one of {', '.join(RELABEL)}")
        if temperature is not None and relabel == "reuse":
            raise InputError(
                f"relabel = reuse with temperature = {temperature}: labels of a filled head are "
                "made from the plain view, which no step sees; expected relabel = fresh"
            )
        if labeller not in LABELLERS:
            raise InputError(f"labeller = {labeller!r}: expected one of {', '.join(LABELLERS)}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.hparams["seed"])
            self.heads = (
                OutputHeads(self.features, clusters, heads, hidden)
                if temperature is None
                else CosineHead(self.features, clusters, temperature)
            )
        self.labels = None
        self._found: dict[str, float] = {}  # what the labels are like, to be logged
        self._made_for = -1  # the epoch that labels were made for ahead of its start
        self._outputs: Tensor | None = None  # of this epoch's steps, (views, heads, N, k)
        self._lacking: Tensor | None = None  # images not seen yet in this epoch, (N,) bool

    def batch_labels(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the pseudo-labels of a batch: ``(views, heads, B)`` int64 in [0, k)."""
        assert self.labels is not None
        return self.labels[:, :, batch["index"]]

    def on_train_epoch_start(self) -> None:
        """Renew the labels when it is time."""
        super().on_train_epoch_start()
        if self._due(self.current_epoch):
            if self._made_for != self.current_epoch:
                self._relabel()
            self.log_dict(self._found)
        self._outputs = self._lacking = None
        now = time.perf_counter()
        self.log("label_seconds", now - self._began)
        self.log("ln_k", math.log(self.hparams["clusters"]))
        self._began = now

    def keep_outputs(self, batch: dict[str, Tensor], outputs: Tensor) -> None:
        """Keep what a step has computed, where the next labels are made from it."""
        upcoming = self.current_epoch + 1
        if self.hparams["relabel"] != "reuse" or not self._due(upcoming):
            return
        if self._outputs is None:
            rows = len(self._training_loader().dataset)
            views, heads, _, clusters = outputs.shape
            self._outputs = outputs.new_empty(views, heads, rows, clusters)
            self._lacking = torch.ones(rows, dtype=torch.bool, device=outputs.device)
        assert self._lacking is not None
        self._outputs[:, :, batch["index"]] = outputs
        self._lacking[batch["index"]] = False

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Make the next epoch's labels of this epoch's outputs, before the checkpoint."""
        upcoming = self.current_epoch + 1
        last = self.trainer.is_last_batch
        if last and self._outputs is not None and upcoming != self.trainer.max_epochs:
            self._seed(self.current_epoch, batch_idx + 1)
            self._relabel()
            self._made_for = upcoming
        super().on_train_batch_end(outputs, batch, batch_idx)

    def _due(self, epoch: int) -> bool:
        return self.labels is None or epoch % self.hparams["relabel_every"] == 0

    @torch.no_grad()
    def _relabel(self) -> None:
        """Label every training image (section 3.3), from new outputs or from those kept."""
        rows = len(self._training_loader().dataset)
        places = self._own(torch.arange(rows, device=self.device))
        if self._outputs is not None:
            outputs, places = self._completed()
        elif self.hparams["temperature"] is None:
            outputs = self._over_images(self.view_outputs, places)
        else:
            outputs = self._filled_outputs(places)
        views, heads, own, _ = outputs.shape
        labels = torch.empty(views, heads, own, dtype=torch.int64, device=outputs.device)
        found = []
        for view in range(views):
            for head in range(heads):
                result = balanced_labels(
                    outputs[view, head],
                    method=self.hparams["labeller"],
                    decay=self.hparams["decay"],
                    group=dist.group.WORLD if self.trainer.world_size > 1 else None,
                )
                labels[view, head] = result.labels
                found.append(result)
        self._found = {
            "std": float(np.mean([result.std for result in found])),
            "initial_std": float(np.mean([result.initial_std for result in found])),
            "initial_empty": float(np.mean([result.initial_empty for result in found])),
        }
        labels = self._all_gather_rows(labels.movedim(-1, 0), places, rows).movedim(0, -1)
        if self.labels is not None:
            self._found["changed"] = float((labels != self.labels).float().mean())
        if views > 1:
            self._found["agreement"] = float(_agreement(labels))
        # Labels of the plain view are those of every view.
        self.labels = labels.expand(self.hparams["views"], -1, -1).contiguous()

    def _own(self, places: Tensor) -> Tensor:
        """Return this process's share of some images."""
        return places[self.global_rank :: self.trainer.world_size].contiguous()

    def _all_gather_rows(self, values: Tensor, places: Tensor, rows: int) -> Tensor:
        """Return what all processes found of all images, by index, ``(rows, ...)``.

        Args:
            values: What this process found, ``(n, ...)``.
            places: Indices of its images, ``(n,)``, which no other process has.
            rows: Number of all images.
        """
        known = values.new_zeros(rows, *values.shape[1:])
        known[places] = values
        return cast(Tensor, self.trainer.strategy.reduce(known, reduce_op="sum"))

    def _completed(self) -> tuple[Tensor, Tensor]:
        """Return the outputs kept of steps and the images they are of, none twice.

        Images that no process has seen are looked at now.
        """
        assert self._outputs is not None
        assert self._lacking is not None
        seen = ~self._lacking
        # An image is of the first process that has seen it: samplers of others may pad.
        rank = self.global_rank
        first = torch.where(seen, rank, self.trainer.world_size)
        first = cast(Tensor, self.trainer.strategy.reduce(first, reduce_op="min"))
        lacking = self._own((first == self.trainer.world_size).nonzero()[:, 0])
        if len(lacking):
            self._outputs[:, :, lacking] = self._over_images(self.view_outputs, lacking)
            first[lacking] = rank
        places = (first == rank).nonzero()[:, 0]
        if len(places) == len(seen):
            return self._outputs, places
        return self._outputs[:, :, places], places

    def _filled_outputs(self, places: Tensor) -> Tensor:
        """Fill the cosine head from the plain views of all images.

        Returns:
            The outputs of this process's, ``(1, 1, n, k)``.
        """
        head = cast(CosineHead, self.heads)
        settings = self.hparams
        view = evaluation_transforms(settings["size"], settings["mean"], settings["std"])

        def plain_features(images: Tensor) -> Tensor:
            return self.encoder(view(as_unit(images)).contiguous(memory_format=torch.channels_last))

        self.eval()
        own = self._over_images(plain_features, places)
        self.train()
        features = self._all_gather_rows(own, places, len(self._training_loader().dataset))
        head.centre.copy_(features.mean(0))
        directions = head.directions(features)
        head.weight.copy_(cluster_directions(directions, settings["clusters"], settings["seed"]))
        return head(own)[None]

    def _training_loader(self) -> Any:
        return self.trainer.train_dataloader

    def _over_images(self, function: Callable[[Tensor], Tensor], places: Tensor) -> Tensor:
        """Return ``function`` of training images, by index.

        Args:
            function: From images ``(B, C, H, W)`` to ``(..., B, D)``.
            places: Indices of the n images, ``(n,)`` int64, ascending, at least one.

        Returns:
            ``(..., n, D)`` float32.
        """
        loader = self._training_loader()
        dataset, clusters = loader.dataset, self.hparams["clusters"]
        if len(dataset) < clusters:
            raise InputError(
                f"{clusters} clusters for {len(dataset)} training images: "
                "expected at least an image a cluster; set clusters lower"
            )
        # Every image, where the training loader drops the last batch; and shuffled as there:
        # images lie on disk class by class, and batch normalisation over a batch of one class
        # would take away what that class has in common.
        every = len(places) == len(dataset)
        looked_at = dataset if every else Subset(dataset, places.tolist())
        everything = DataLoader(
            looked_at,
            batch_size=loader.batch_size,
            shuffle=True,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )
        bar = self.trainer.progress_bar_callback
        silent = not isinstance(bar, TQDMProgressBar) or bar.is_disabled
        found: Tensor | None = None
        for batch in tqdm(everything, "labels", file=sys.stderr, leave=False, disable=silent):
            if "index" not in batch:
                raise InputError(
                    "a training batch without 'index': expected each sample to carry its "
                    "position in the data set; labels are kept by it"
                )
            batch = self.trainer.strategy.batch_to_device(batch, self.device)
            with self.trainer.precision_plugin.forward_context():
                part = function(batch["image"]).float()
            if found is None:
                found = part.new_empty((*part.shape[:-2], len(looked_at), part.shape[-1]))
            rows = batch["index"]
            found[..., rows if every else torch.searchsorted(places, rows), :] = part
        assert found is not None
        return found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the labels: they outlive an epoch when ``relabel_every`` is above 1."""
        checkpoint["labels"] = self.labels
        checkpoint["labels_found"] = self._found
        checkpoint["labels_made_for"] = self._made_for

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the labels back."""
        self.labels = checkpoint["labels"]
        self._found = checkpoint["labels_found"]
        self._made_for = checkpoint["labels_made_for"]

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
