"""OTL as a task of torchgeo."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
import torch.distributed as dist
from lightly.models.modules.heads import SimCLRProjectionHead
from lightning.pytorch.callbacks import TQDMProgressBar
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, RandomSampler, Sampler
from torchgeo.datamodules import BaseDataModule, NonGeoDataModule
from torchvision.models import WeightsEnum
from torchvision.transforms.v2 import MixUp
from tqdm import tqdm

from rs_otl.augment import as_unit, augmentation
from rs_otl.clustering import cluster_directions
from rs_otl.datasets import IndexedDataset, OTLDataModule
from rs_otl.errors import InputError
from rs_otl.models import (
    CosineHead,
    OutputHeads,
    check_tunable,
    create_encoder,
    evaluation_transforms,
    feature_width,
    load_encoder,
    merged_weights,
    restrict_training,
    seeded,
    set_image_size,
    set_pool,
    to_channels_last,
)
from rs_otl.recipe import NOT_CONTRASTED
from rs_otl.spec import PAPER_MEAN, PAPER_STD, EncoderConfig
from rs_otl.trainers.encode import encode
from rs_otl.trainers.knn import LeaveOneOutKNN
from rs_otl.trainers.loss import contrastive_loss, label_consistent_loss
from rs_otl.trainers.pseudo_labels import Group, PseudoLabels, StepOutputs, gather_rows

try:  # its name from torchgeo 0.9
    from torchgeo.tasks import BaseTask
except ImportError:
    from torchgeo.trainers import BaseTask

RELABEL = ("fresh", "reuse")
REDUCTIONS = ("sum", "mean")
# Width of the projections that are contrasted.
_PROJECTION = 128
# How far outside [0, 1] a rounding error can take an image.
_ROUNDING = 1e-3


class OTLTask(BaseTask):
    """Representation learning by output translation (Li et al., Remote Sensing 2022).

    An epoch begins with labels: the network, in training mode, encodes ``views`` freshly
    augmented views of every training image. The outputs of each view are translated until they
    fill the clusters evenly; their arg-max gives the labels of that view. Then, in each step,
    every view of an image learns to predict the labels of all its views. The defaults are the
    paper's; the shipped recipes have the other settings of its remote-sensing runs (section 4.3).

    Batches are dictionaries with ``image``, ``(B, C, S, S)``, float32 in [0, 1] or uint8, *not
    normalised*: views come first, normalisation last. Training batches also have ``index``,
    int64 ``(B,)``, the image's position in the training set, by which labels are kept. When
    training starts, non-geo data modules of torchgeo get an ``index``; with a plain loader use
    :class:`rs_otl.datasets.IndexedDataset`. No ``label`` is read, unless ``supervised``.

    Validation batches with ``label``, int64 ``(B,)``, give ``val_knn``: the share of images
    whose label is that of their nearest neighbours among the validation images.

    The labels of each epoch, and each step, begin with a new random seed, made from ``seed``, the
    epoch and the step. There is no other random state, so a run resumed at an epoch equals one
    that never stopped.

    With several processes, each process makes the labels of a part of the images; afterwards all
    processes have all labels.

    Args:
        model: timm architecture of the encoder.
        weights: Weights to start from: a torchgeo weights enum or its name, ``timm/NAME``, a
            run, an encoder directory or a checkpoint file; True for timm's own weights of
            ``model``; None or False for random ones. Every tensor must fit.
        in_channels: Bands of the images.
        contrast: Share of the loss, in [0, 1], that contrasts: each view finds the other views of
            its image among those of the batch (SimCLR, Chen et al., ICML 2020), by projections
            of the features. The rest is the loss above. With 1 there are no clusters and no
            labels, and their settings have no effect.
        clusters: Outputs k of each head; with ``supervised`` the number of classes.
        heads: Number of heads, each with its own labels.
        hidden: Width of the heads' hidden layer; 0 for the paper's linear heads.
        views: Views g of an image in each step.
        views_apart: Whether the views of a step are of different images, as in the authors'
            code: a batch joins parts of ``views`` separately shuffled orders of the training
            images, and each part has its own forward pass and batch statistics. Needs
            ``OTLDataModule(orders=views)``.
        local_views: Number of small crops of an image in each step, in addition to its views:
            they learn the labels of the views and have no labels of their own, as in SwAV and
            SeLa-v2.
        local_size: Side of a local view in pixels; by default half of ``size``.
        reduction: How equation 18's terms, every view against every label set, become the loss:
            ``"sum"`` as in the paper, whose learning rates are for the sum, or ``"mean"``. The
            logged loss is the mean in both cases, ln k for a network that guesses.
        augment: ``"simple"`` or ``"strong"`` views, see :mod:`rs_otl.augment`.
        operations: Operations of a strong view; the paper has 10 in section 4.3, 8 in appendix D.
        orientations: Orientations of a view: 1 upright, 2 also mirrored, 8 also in quarter turns;
            by default 8 for simple and 2 for strong views.
        size: Side of a view in pixels; for vision transformers any multiple of the patch size.
        pool: What a vision transformer's features are made of: ``"cls"`` or ``"mean"``; by default
            the rule of its architecture.
        mean: Mean of each band in [0, 1]. By default that of ``weights``, else of the data
            module, else the paper's for three bands and 0.5 for others.
        std: Standard deviation of each band, with the same defaults; 0.25 instead of 0.5.
        rgb: Whether the bands are red, green and blue; by default whether there are three.
        scale: For data modules of torchgeo: the raw value that becomes 1, such as 255 or, for
            Sentinel-2, 10000. A division by it, clipped to [0, 1], then replaces the data
            module's own normalisation and augmentation. By default images must arrive in [0, 1].
        augmentations: Makes one normalised view of each image, ``(B, C, S, S)`` to
            ``(B, C, size, size)``, instead of ``augment``. It gets the images as they arrive,
            whatever their range; ``mean`` and ``std`` are then 0 and 1 unless given.
        lr: Learning rate of SGD at the start.
        milestones: Epochs at which the rate changes, ascending.
        milestone_lrs: The new rate at each milestone. Without milestones the rate falls to 0
            along a cosine.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        warmup: Steps over which the rate rises to ``lr``. If above 0, the rate changes with
            every step instead of every epoch.
        relabel_every: Number of epochs for which labels are kept.
        relabel: What new labels are made from. ``"fresh"``: the outputs of new views, in a pass
            over the images, as in the paper. ``"reuse"``: the outputs of the epoch's steps; only
            the first labels, and images that the steps left out, need a pass.
        method: How outputs become labels, see :func:`rs_otl.clustering.balanced_labels`.
        decay: See :func:`rs_otl.clustering.balanced_labels`.
        targets: Sizes of the clusters, see :func:`rs_otl.clustering.target_sizes`.
        label_batch_sizes: Batch sizes of the label passes, each of which makes one label set from
            one view of every image, such as ``(128, 128, 256, 512)`` in the authors' program for
            CIFAR. By default one pass over ``views`` stacked views makes ``views`` label sets.
        temperature: Temperature of a cosine head that is filled from the encoder's features,
            for an encoder that is already good. Labels are then made from the features of the
            plain image in evaluation mode: their k-means directions fill the head, and all
            views of an image share its label. It needs one head and no hidden layer.
        freeze_batch_norm: Leave the encoder's batch normalisation as it is: the statistics of
            pretrained weights are better than those of a few epochs.
        tune: Which part of the encoder is trained: ``"all"``, ``"norm"`` or ``"lora"``; see
            :func:`rs_otl.models.restrict_training`.
        lora_rank: Rank of LoRA's changes, see :func:`rs_otl.models.restrict_training`.
        layer_decay: Factor of the learning rate from each layer of the encoder to the layer
            before, in (0, 1], by timm's grouping of layers; the last layer has the full rate.
        label_smoothing: Share of a label that is spread evenly over all clusters, in [0, 1).
        mixup: Parameter, in [0, 1], of the symmetric beta distribution from which a step's shares
            are drawn. Above 0, each image of a step is mixed with another before its views are
            made, and learns the labels of both (Zhang et al., ICLR 2018).
        supervised: Train with the ``label`` of the batches instead of pseudo-labels: the
            paper's baseline (section 4.3), with the same encoder, views, loss and schedule.
        chunks: Forward passes that a step's images are divided among when memory is short, see
            :func:`rs_otl.trainers.encode.encode`.
        compile: Whether to run the encoder through ``torch.compile``; if that fails, a note on
            stderr says so and the encoder runs uncompiled.
        seed: Seed of weights and views.

    Raises:
        InputError: If a value is not as above, or the weights do not fit.

    Attributes:
        encoder: The encoder, from normalised images ``(B, C, size, size)`` to features ``(B, D)``.
        heads: From features to outputs ``(heads, B, k)``; with ``contrast`` 1 there are none.
        projection: From features to what is contrasted, ``(B, 128)``; only with ``contrast``.
        pseudo_labels: The labels of the current epoch.
    """

    ignore: tuple[str, ...] = ("weights", "augmentations")
    monitor = "loss"

    def __init__(
        self,
        model: str = "resnet18",
        weights: WeightsEnum | str | bool | None = None,
        in_channels: int = 3,
        contrast: float = 0.0,
        clusters: int = 128,
        heads: int = 1,
        hidden: int = 0,
        views: int = 2,
        views_apart: bool = False,
        local_views: int = 0,
        local_size: int | None = None,
        reduction: str = "sum",
        augment: str = "strong",
        operations: int = 10,
        orientations: int | None = None,
        size: int = 224,
        pool: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        rgb: bool | None = None,
        scale: float | None = None,
        augmentations: nn.Module | None = None,
        lr: float = 0.03,
        milestones: Sequence[int] = (),
        milestone_lrs: Sequence[float] = (),
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        warmup: int = 0,
        relabel_every: int = 1,
        relabel: str = "fresh",
        method: str = "translation",
        decay: float = 1.5,
        targets: str = "even",
        label_batch_sizes: Sequence[int] = (),
        temperature: float | None = None,
        freeze_batch_norm: bool = False,
        tune: str = "all",
        lora_rank: int = 8,
        layer_decay: float = 1.0,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        supervised: bool = False,
        chunks: int = 1,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        if temperature is not None and (heads > 1 or hidden):
            raise InputError(
                f"temperature with heads = {heads} and hidden = {hidden}: it needs one head "
                "without a hidden layer, expected heads = 1 and hidden = 0"
            )
        if not 0 <= contrast <= 1:
            raise InputError(f"contrast = {contrast}: expected a number from 0 to 1")
        if contrast and not supervised:
            if views < 2 or reduction != "mean":
                raise InputError(
                    f"contrast = {contrast} with views = {views} and reduction = {reduction!r}: "
                    "expected 2 views or more, and 'mean'"
                )
            others = (views_apart, local_views, temperature, mixup)
            for key, value in zip(NOT_CONTRASTED, others, strict=True):
                if value:
                    raise InputError(f"contrast and {key} exclude each other: expected one of them")
        if relabel not in RELABEL:
            raise InputError(f"relabel = {relabel!r}: expected one of {', '.join(RELABEL)}")
        if reduction not in REDUCTIONS:
            raise InputError(f"reduction = {reduction!r}: expected one of {', '.join(REDUCTIONS)}")
        if temperature is not None and (relabel == "reuse" or label_batch_sizes):
            raise InputError(
                f"temperature = {temperature} with relabel = {relabel} and label_batch_sizes = "
                f"{list(label_batch_sizes)}: labels of a filled head are made from the plain "
                "image, once; expected relabel = fresh and no label_batch_sizes"
            )
        if relabel == "reuse" and (views_apart or label_batch_sizes):
            raise InputError(
                "relabel = reuse needs all views of an image in one step, and as many label sets: "
                "expected relabel = fresh, or neither views_apart nor label_batch_sizes"
            )
        if local_views and augmentations is not None:
            raise InputError(
                f"local_views = {local_views} with augmentations: augment makes the local views, "
                "and augmentations replaces it; expected only one of the two"
            )
        if not 0 < layer_decay <= 1:
            raise InputError(f"layer_decay = {layer_decay}: expected a number above 0, at most 1")
        if not 0 <= mixup <= 1:
            raise InputError(f"mixup = {mixup}: expected a number from 0 to 1")
        if mixup and relabel == "reuse":
            raise InputError(
                f"mixup = {mixup} with relabel = reuse: labels would be made from mixed images; "
                "expected relabel = fresh, or mixup = 0"
            )
        if any(size < 2 for size in label_batch_sizes):
            raise InputError(f"label_batch_sizes = {list(label_batch_sizes)}: expected 2 or more")
        if (mean is None) != (std is None):
            raise InputError("mean and std go together: expected both or neither")
        if scale is not None and not scale > 0:
            raise InputError(f"scale = {scale}: expected a number above 0")
        if len(milestones) != len(milestone_lrs) or list(milestones) != sorted(set(milestones)):
            raise InputError(
                f"milestones = {list(milestones)} and milestone_lrs = {list(milestone_lrs)}: "
                "expected ascending milestones, and a rate for each"
            )
        self.weights = weights
        self.pseudo_labels = PseudoLabels(method, decay, targets)
        super().__init__()
        self.hparams["rgb"] = in_channels == 3 if rgb is None else rgb
        self._default_views = augmentations is None
        self._default_statistics = mean is None and self._default_views
        self._normalise_by(*self._statistics())
        if augmentations is not None:
            self.augmentations = augmentations
        self._step_outputs: StepOutputs | None = None
        self._seen = 0
        self._began = time.perf_counter()
        self.train()

    def configure_models(self) -> None:
        """Make the encoder and the heads, from the seed or the weights to start from."""
        settings = self.hparams
        self.encoder = create_encoder(
            settings["model"],
            settings["in_channels"],
            settings["seed"],
            settings["size"],
            settings["pool"],
        )
        check_tunable(self.encoder, settings["tune"])
        self._restricted = False
        if settings["local_size"] is None:
            settings["local_size"] = settings["size"] // 2
        if settings["local_views"]:
            if hasattr(self.encoder, "patch_embed") and settings["local_size"] != settings["size"]:
                raise InputError(
                    f"local_views with {settings['model']}: it takes images of one size at a time, "
                    f"expected local_size={settings['size']}"
                )
            set_image_size(self.encoder, settings["local_size"])
        self._started_from: EncoderConfig | None = None
        if self.weights:
            self._started_from = self._load_weights(self.weights)
        self.features = feature_width(self.encoder)
        # Most of a CPU step is convolutions, which run faster on this layout.
        to_channels_last(self.encoder)
        if settings["compile"]:
            self.encoder.compile()
        clusters, temperature = settings["clusters"], settings["temperature"]
        with seeded(settings["seed"]):
            self.heads: nn.Module
            if self._contrast == 1:
                self.heads = nn.Identity()
            elif temperature is None:
                self.heads = OutputHeads(
                    self.features, clusters, settings["heads"], settings["hidden"]
                )
            else:
                self.heads = CosineHead(self.features, clusters, temperature)
            self.projection: nn.Module = nn.Identity()
            if self._contrast:
                self.projection = SimCLRProjectionHead(self.features, self.features, _PROJECTION)

    @property
    def _contrast(self) -> float:
        return 0.0 if self.hparams["supervised"] else self.hparams["contrast"]

    def configure_metrics(self) -> None:
        """Make the metric of the validation images."""
        self.val_knn = LeaveOneOutKNN()

    def _load_weights(self, weights: WeightsEnum | str | bool) -> EncoderConfig:
        source = f"timm/{self.hparams['model']}" if weights is True else str(weights)
        loaded = load_encoder(source, image_size=self.hparams["size"], pool=self.hparams["pool"])
        config = loaded.config
        channels = len(config.spec.bands)
        for name, wanted, given in (
            ("model", self.hparams["model"], config.encoder),
            ("in_channels", self.hparams["in_channels"], channels),
        ):
            if wanted != given:
                raise InputError(
                    f"weights = {source} have {name} = {given}, not {wanted}: expected the same"
                )
        self.encoder.load_state_dict(loaded.module.state_dict())
        if config.pool is not None:
            set_pool(self.encoder, config.pool)
            self.hparams["pool"] = config.pool
        return config

    def _statistics(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and std: as given, else from the weights, else a guess."""
        settings, channels = self.hparams, self.hparams["in_channels"]
        if settings["mean"] is not None:
            return settings["mean"], settings["std"]
        if not self._default_views:
            return (0.0,) * channels, (1.0,) * channels
        if self._started_from is not None:
            self._default_statistics = False
            return self._started_from.spec.mean, self._started_from.spec.std
        if channels == 3:
            return PAPER_MEAN, PAPER_STD
        return (0.5,) * channels, (0.25,) * channels

    def _normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Make the views and the plain view of images with these statistics."""
        settings = self.hparams
        settings["mean"], settings["std"] = tuple(mean), tuple(std)  # the checkpoint keeps them
        if self._default_views:
            self.augmentations, self.local_augmentations = (
                augmentation(
                    settings["augment"],
                    size,
                    mean,
                    std,
                    settings["rgb"],
                    settings["operations"],
                    settings["orientations"],
                    local=bool(local),
                ).to(self.device)
                for local, size in enumerate((settings["size"], settings["local_size"]))
            )
        self.plain_view = evaluation_transforms(settings["size"], mean, std)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but leave frozen batch normalisation in evaluation mode."""
        super().train(mode)
        if self.hparams["freeze_batch_norm"]:
            for module in self.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def trained_encoder(self) -> nn.Module:
        """Return the encoder as timm makes it, with LoRA's changes merged into its weights."""
        settings = self.hparams
        if settings["tune"] != "lora":
            return self.encoder
        encoder = create_encoder(
            settings["model"],
            settings["in_channels"],
            image_size=settings["size"],
            pool=settings["pool"],
        )
        encoder.load_state_dict(merged_weights(self.encoder.state_dict()))
        return encoder.to(self.device)

    # The data

    def setup(self, stage: str) -> None:
        """Freeze what is not trained; prepare a data module's positions, scale and statistics."""
        if not self._restricted:  # once the weights are loaded, before a checkpoint is restored
            settings = self.hparams
            restrict_training(
                self.encoder, settings["tune"], settings["lora_rank"], settings["seed"]
            )
            self._restricted = True
        data = getattr(self.trainer, "datamodule", None)
        if self.hparams["views_apart"] and getattr(data, "orders", 1) != self.hparams["views"]:
            raise InputError(
                "views_apart = True: expected batches from as many orders of the images as views; "
                f"train with OTLDataModule(orders={self.hparams['views']})"
            )
        if stage != "fit" or not isinstance(data, BaseDataModule):
            return
        if isinstance(data, NonGeoDataModule) and not self.hparams["supervised"]:
            name = "train_dataset" if data.train_dataset is not None else "dataset"
            dataset = getattr(data, name)
            if dataset is not None and not isinstance(dataset, IndexedDataset):
                setattr(data, name, IndexedDataset(dataset))
        scale = self.hparams["scale"]
        if isinstance(data, OTLDataModule):
            scale = 1  # its images and statistics are in [0, 1]
        elif scale is None:
            return  # images must arrive in [0, 1]: each batch is checked
        else:
            data.aug = data.train_aug = data.val_aug = partial(_divided, scale=scale)
        mean, std = (torch.as_tensor(values).flatten() / scale for values in (data.mean, data.std))
        if self._default_statistics and len(mean) == len(std) == self.hparams["in_channels"]:
            self._normalise_by(mean.tolist(), std.tolist())

    def _check_range(self, images: Tensor) -> None:
        """Refuse images that the default views would clamp."""
        if images.dtype == torch.uint8 or not self._default_views:
            return
        low, high = (float(bound) for bound in torch.aminmax(images))
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise InputError(
                f"images from {low:.3g} to {high:.3g}: expected uint8 or [0, 1], not yet "
                "normalised, since the views come first; set scale= of OTLTask to the raw value "
                "that becomes 1 (255 for 8-bit images), or mean=0 and std=255 of the data module"
            )

    # The network

    def forward(self, images: Tensor, passes: int = 1) -> Tensor:
        """Return outputs before softmax, float32 ``(heads, B, k)``, of normalised images.

        The heads never run in half precision: its few bits would put many rows on ties.

        Args:
            images: ``(B, C, size, size)``.
            passes: Forward passes that the images are divided among.
        """
        features = encode(self.encoder, images, self.hparams["chunks"], passes)
        with torch.autocast(images.device.type, enabled=False):
            return self.heads(features.float())

    def view_outputs(self, images: Tensor, views: int | None = None, passes: int = 1) -> Tensor:
        """Return outputs ``(views, heads, B, k)`` of freshly augmented views of images.

        Args:
            images: float32 in [0, 1] or uint8, ``(B, C, S, S)``.
            views: Number of views, by default that of a step.
            passes: Forward passes that the stacked views are divided among; in one pass batch
                normalisation sees them all.

        Raises:
            InputError: If values lie outside [0, 1].
        """
        return self._outputs(self.augmentations, images, views or self.hparams["views"], passes)

    def local_outputs(self, images: Tensor) -> Tensor:
        """Return outputs ``(local_views, heads, B, k)`` of freshly made local views of images.

        They have their own forward pass, and so their own batch statistics.

        Args:
            images: float32 in [0, 1] or uint8, ``(B, C, S, S)``.
        """
        return self._outputs(self.local_augmentations, images, self.hparams["local_views"])

    def _outputs(
        self, augmentations: nn.Module, images: Tensor, views: int, passes: int = 1
    ) -> Tensor:
        outputs = self(self.make_views(augmentations, images, views), passes)
        return outputs.unflatten(1, (views, len(images))).transpose(0, 1)

    def make_views(self, augmentations: nn.Module, images: Tensor, views: int) -> Tensor:
        """Return views of images one after the other, ``(views x B, C, S, S)``, normalised.

        Args:
            augmentations: Makes one view of each image.
            images: float32 in [0, 1] or uint8, ``(B, C, S, S)``.
            views: Number of views.

        Raises:
            InputError: If values lie outside [0, 1].
        """
        self._check_range(images)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            stacked = torch.cat([augmentations(images) for _ in range(views)])
        return stacked.contiguous(memory_format=torch.channels_last)

    def plain_features(self, images: Tensor) -> Tensor:
        """Return features ``(B, D)`` of images as they are, resized, cropped and normalised."""
        self._check_range(images)
        view = self.plain_view(as_unit(images)).contiguous(memory_format=torch.channels_last)
        return self.encoder(view)

    # Steps

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the label-consistent loss of a batch, the mean over the heads, and contrast."""
        size, views = len(batch["image"]), self.hparams["views"]
        apart = self.hparams["views_apart"]
        if size * (1 if apart else views) == 1:
            raise InputError(
                "a batch of one image in one view: expected two, for batch normalisation; set "
                "drop_last=True in the data loader, or views=2"
            )
        if self._contrast:
            return self._contrasting_step(batch)
        images, shares = self._mixed(batch["image"])
        if apart:  # one view of every image of the batch
            outputs = self.view_outputs(images, views=1, passes=views)
        else:
            outputs = self.view_outputs(images)
        if self.hparams["supervised"]:
            labels = batch["label"].expand(1, 1, -1)
        else:
            labels = self.pseudo_labels[batch["index"]]
            self._keep_outputs(batch["index"], outputs.detach())
        loss = self._loss(outputs, labels, shares)
        terms = views * len(labels)
        if local := self.hparams["local_views"]:
            local_loss = self._loss(self.local_outputs(images), labels, shares)
            loss = (views * loss + local * local_loss) / (views + local)
            terms += local * len(labels)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss * (terms if self.hparams["reduction"] == "sum" else 1)

    def _contrasting_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of a batch by contrast and, unless that is all, by clusters."""
        images, share = batch["image"], self._contrast
        size, views, processes = len(images), self.hparams["views"], self.trainer.world_size
        stacked = self.make_views(self.augmentations, images, views)
        features = encode(self.encoder, stacked, self.hparams["chunks"]).float()
        with torch.autocast(images.device.type, enabled=False):
            projected = self.projection(features).unflatten(0, (views, size))
            loss = share * contrastive_loss(projected, several=processes > 1)
            guess = share * math.log(2 * processes * size - 1)
            if share < 1:
                outputs = self.heads(features).unflatten(1, (views, size)).transpose(0, 1)
                self._keep_outputs(batch["index"], outputs.detach())
                labels = self.pseudo_labels[batch["index"]]
                loss = loss + (1 - share) * self._loss(outputs, labels, None)
                guess += (1 - share) * math.log(self.hparams["clusters"])
        logged = {"loss": loss, "guess": guess}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def _mixed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return each image mixed with another, and the shares of all images in it, ``(B, B)``."""
        if not self.hparams["mixup"]:
            return images, None
        mix = MixUp(alpha=self.hparams["mixup"], num_classes=len(images))
        mixed, shares = mix(as_unit(images), torch.arange(len(images), device=images.device))
        return mixed, shares

    def _loss(self, outputs: Tensor, labels: Tensor, shares: Tensor | None) -> Tensor:
        """Return the mean over the heads, ``(g, heads, B, k)`` against ``(h, heads, B)``."""
        losses = [
            label_consistent_loss(
                outputs[:, head], labels[:, head], self.hparams["label_smoothing"], shares
            )
            for head in range(labels.shape[1])
        ]
        return torch.stack(losses).mean()

    def validation_step(
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add the features of labelled images to the nearest-neighbour score."""
        if "label" in batch and batch["label"].ndim == 1:
            self.val_knn.update(self.plain_features(batch["image"]), batch["label"])

    def on_validation_epoch_end(self) -> None:
        """Log the nearest-neighbour score of the validation images."""
        if self.val_knn.update_called:
            self.log("val_knn", self.val_knn.compute(), prog_bar=True)
            self.val_knn.reset()

    def on_train_start(self) -> None:
        """Move restored labels to the device; training from the start has none."""
        if self.current_epoch == 0:
            self.pseudo_labels.forget()
        self.pseudo_labels.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch and renew the labels when it is time."""
        self._seed(self.current_epoch)
        self._seen = 0
        self._began = time.perf_counter()
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)
        if not self._contrast:
            self.log("ln_k", math.log(self.hparams["clusters"]), sync_dist=True)
        if self.hparams["supervised"] or self._contrast == 1:
            return
        labels, images = self.pseudo_labels.labels, len(self._training_set())
        if labels is not None and labels.shape[-1] != images:
            raise InputError(
                f"the checkpoint has labels of {labels.shape[-1]:,} images, the training set has "
                f"{images:,}: expected the images that the run began with"
            )
        if self._labels_due(self.current_epoch):
            if self.pseudo_labels.epoch != self.current_epoch:
                self._make_labels(self.current_epoch)
            self.log_dict(self.pseudo_labels.metrics, sync_dist=True)
        self._step_outputs = None
        now = time.perf_counter()
        self.log("label_seconds", now - self._began, sync_dist=True)
        self._began = now

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step.

        Every step is seeded, because loaders and callbacks draw differently in a resumed run.
        """
        self._seed(self.current_epoch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """After the last batch, make the next labels if from its steps, and log the epoch's cost.

        This is done here, because callbacks, the checkpoint's too, end an epoch before the task.
        """
        self._seen += len(batch["image"]) // self._orders
        if not self.trainer.is_last_batch:
            return
        self._refuse_divergence(outputs["loss"])
        upcoming = self.current_epoch + 1
        if self._step_outputs is not None and upcoming != self.trainer.max_epochs:
            self._seed(self.current_epoch, batch_idx + 1)
            self._make_labels(upcoming)
        seconds = time.perf_counter() - self._began
        self.log("train_seconds", seconds)
        self.log("images_per_second", self._seen * self.trainer.world_size / seconds)

    def _refuse_divergence(self, loss: Tensor) -> None:
        """Stop if loss or weights are not finite, before labels, checkpoint or export use them."""
        values = (*self.encoder.state_dict().values(), *self.heads.state_dict().values())
        wrong = None if math.isfinite(loss) else "loss is"
        if wrong is None and not all(bool(value.isfinite().all()) for value in values):
            wrong = "weights are"
        if wrong is not None:
            raise InputError(
                f"training has diverged in epoch {self.current_epoch + 1} (the {wrong} not "
                f"finite): lower the learning rate, now {self.hparams['lr']:g}, or set a warmup"
            )

    def _seed(self, *moment: int) -> None:
        """Seed the global random state from the run's seed, the process and the moment."""
        entropy = [self.hparams["seed"], self.global_rank, *moment]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    @property
    def _orders(self) -> int:
        """Number of orders of the training images that a batch is put together from."""
        return self.hparams["views"] if self.hparams["views_apart"] else 1

    # Labels

    def _labels_due(self, epoch: int) -> bool:
        return self.pseudo_labels.labels is None or epoch % self.hparams["relabel_every"] == 0

    def _keep_outputs(self, index: Tensor, outputs: Tensor) -> None:
        """Keep a step's outputs if the next labels are made from them."""
        if self.hparams["relabel"] != "reuse" or not self._labels_due(self.current_epoch + 1):
            return
        if self._step_outputs is None:
            self._step_outputs = StepOutputs(len(self._training_set()))
        self._step_outputs.add(index, outputs)

    @torch.no_grad()
    def _make_labels(self, epoch: int) -> None:
        """Label every training image for an epoch, from new or kept outputs (section 3.3)."""
        group: Group = dist.group.WORLD if self.trainer.world_size > 1 else None
        images, clusters = len(self._training_set()), self.hparams["clusters"]
        if images < clusters:
            raise InputError(
                f"{clusters} clusters for {images} training images: "
                "expected at least one image per cluster; set clusters lower"
            )
        index = torch.arange(self.global_rank, images, self.trainer.world_size, device=self.device)
        if self._step_outputs is not None:
            outputs, index = self._completed(self._step_outputs, group)
        elif self.hparams["temperature"] is not None:
            outputs = self._filled_outputs(index, images, group)
        elif sizes := self.hparams["label_batch_sizes"]:
            one_view = partial(self.view_outputs, views=1)
            outputs = torch.cat([self._over_images(one_view, index, size) for size in sizes])
        else:
            outputs = self._over_images(self.view_outputs, index)
        self.pseudo_labels.make(outputs, index, images, epoch, group)
        if self.hparams["temperature"] is not None:
            self.pseudo_labels.share_among_views(self.hparams["views"])

    def _completed(self, kept: StepOutputs, group: Group) -> tuple[Tensor, Tensor]:
        """Return the outputs of this process's images, and their positions.

        Images that no step has seen are encoded now.
        """
        seen, unseen = kept.divide(group)
        assert kept.outputs is not None
        if len(unseen):
            kept.outputs[:, :, unseen] = self._over_images(self.view_outputs, unseen)
        index = torch.cat([seen, unseen]).sort().values
        return (kept.outputs if len(index) == kept.images else kept.outputs[:, :, index]), index

    def _filled_outputs(self, index: Tensor, images: int, group: Group) -> Tensor:
        """Fill the cosine head from the plain features of all images.

        Returns:
            The outputs of this process's images, ``(1, 1, n, k)``.
        """
        head = cast(CosineHead, self.heads)
        self.eval()
        mine = self._over_images(self.plain_features, index)
        self.train()
        features = gather_rows(mine, index, images, group)
        head.centre.copy_(features.mean(0))
        directions = head.directions(features)
        head.weight.copy_(
            cluster_directions(directions, self.hparams["clusters"], self.hparams["seed"])
        )
        return head(mine)[None]

    def _training_set(self) -> Any:
        return cast(Any, self.trainer.train_dataloader).dataset

    def _over_images(
        self,
        function: Callable[[Tensor], Tensor],
        index: Tensor,
        batch_size: int | None = None,
    ) -> Tensor:
        """Apply ``function`` to training images, and return the results by position.

        Args:
            function: From images ``(B, C, S, S)`` to ``(..., B, D)``.
            index: Positions of the n images, ``(n,)`` int64, ascending, at least one.
            batch_size: Images at a time, by default those of a step.

        Returns:
            ``(..., n, D)`` float32.

        Raises:
            InputError: If the samples' ``index`` is missing or is not their position.
        """
        loader = cast(Any, self.trainer.train_dataloader)
        if len(index) == 1 and len(loader.dataset) > 1:  # batch normalisation fails on one image
            pair = torch.cat([index, (index + 1) % len(loader.dataset)]).sort().values
            return self._over_images(function, pair, batch_size)[..., pair == index, :]
        # Shuffled: images lie on disk class by class, and batch normalisation over a batch of
        # one class would take away what that class has in common.
        everything = DataLoader(
            loader.dataset,
            batch_sampler=_ShuffledBatches(
                index.tolist(), batch_size or loader.batch_size // self._orders
            ),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )
        bar = self.trainer.progress_bar_callback
        silent = not isinstance(bar, TQDMProgressBar) or bar.is_disabled
        doing = f"epoch {self.current_epoch + 1}/{self.trainer.max_epochs}, labels"
        results: Tensor | None = None
        filled = torch.zeros(len(index), dtype=torch.bool, device=self.device)
        for batch in tqdm(everything, doing, file=sys.stderr, leave=False, disable=silent):
            if "index" not in batch:
                raise InputError(
                    "a training batch without 'index', by which labels are kept: expected each "
                    "sample to hold its position in the data set; wrap the data set in "
                    "rs_otl.datasets.IndexedDataset"
                )
            batch = self.trainer.strategy.batch_to_device(batch, self.device)
            with self.trainer.precision_plugin.forward_context():
                result = function(batch["image"]).float()
            if results is None:
                results = result.new_empty((*result.shape[:-2], len(index), result.shape[-1]))
            rows = torch.searchsorted(index, batch["index"]).clamp_(max=len(index) - 1)
            results[..., rows, :] = result
            filled[rows[index[rows] == batch["index"]]] = True
        if results is None or not filled.all():
            raise InputError(
                "the 'index' of the training samples is not their position in the data set, from "
                "0 on (a subset of another?): wrap the data set in rs_otl.datasets.IndexedDataset"
            )
        return results

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the labels: they may be kept for several epochs."""
        checkpoint["pseudo_labels"] = self.pseudo_labels.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the labels."""
        self.pseudo_labels.load_state_dict(checkpoint["pseudo_labels"])

    # The optimiser

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return trained parameters and rates; with ``layer_decay`` heads first, then layers."""
        rate, decay = self.hparams["lr"], self.hparams["layer_decay"]
        whole = self if decay == 1 else nn.ModuleList([self.heads, self.projection])
        groups = [{"params": [one for one in whole.parameters() if one.requires_grad], "lr": rate}]
        if decay < 1:
            layers = param_groups_layer_decay(
                self.encoder,
                self.hparams["weight_decay"],
                weight_decay_exclude_1d=False,
                layer_decay=decay,
            )
            groups += [
                {"params": layer["params"], "lr": rate * layer["lr_scale"]} for layer in layers
            ]
        return groups

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        """Return SGD with the steps of section 4.3, or a cosine if there are none."""
        settings = self.hparams
        optimizer = torch.optim.SGD(
            self._parameter_groups(),
            lr=settings["lr"],
            momentum=settings["momentum"],
            weight_decay=settings["weight_decay"],
        )
        epochs = self.trainer.max_epochs or 1

        def factor(epoch: float) -> float:
            if not settings["milestones"]:
                return 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            passed = sum(epoch >= milestone for milestone in settings["milestones"])
            rates = [settings["lr"], *settings["milestone_lrs"]]
            return rates[passed] / settings["lr"]

        warmup = settings["warmup"]
        if not warmup:
            return [optimizer], [LambdaLR(optimizer, factor)]
        steps = self.trainer.estimated_stepping_batches / epochs

        def stepwise(step: int) -> float:
            return min(1.0, (step + 1) / warmup) * factor(step / steps)

        return [optimizer], [{"scheduler": LambdaLR(optimizer, stepwise), "interval": "step"}]


class _ShuffledBatches(Sampler[list[int]]):
    """Batches of positions in random order; the last has at least two.

    A single image left over joins the batch before: alone it would fail in batch normalisation.
    """

    def __init__(self, index: list[int], batch_size: int) -> None:
        self.index = index
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = [self.index[position] for position in RandomSampler(self.index)]
        starts = list(range(0, len(order), self.batch_size))
        if len(order) - starts[-1] == 1 and len(starts) > 1:
            starts.pop()
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            yield order[start:stop]


def _divided(batch: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Bring the raw values of a batch to [0, 1]."""
    return batch | {"image": (batch["image"].float() / scale).clamp(0, 1)}
