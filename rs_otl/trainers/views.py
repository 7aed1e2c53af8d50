"""What training on augmented views has in common, whatever the labels are."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Self, TypedDict, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.checkpoint import checkpoint

from rs_otl.augment import augmentation
from rs_otl.errors import InputError
from rs_otl.models import check_size, create_encoder
from rs_otl.spec import PAPER_MEAN, PAPER_STD
from rs_otl.trainers.loss import label_consistent_loss


class ViewSettings(TypedDict, total=False):
    """Keyword arguments of every :class:`ViewTask`."""

    model: str
    in_channels: int
    views: int
    augment: str
    size: int
    mean: Sequence[float]
    std: Sequence[float]
    rgb: bool
    lr: float
    milestones: Sequence[int]
    milestone_lrs: Sequence[float]
    momentum: float
    weight_decay: float
    warmup: int
    freeze_batch_norm: bool
    chunks: int
    compile: bool
    seed: int


class ViewTask(LightningModule):
    """An encoder and heads that learn to predict labels from augmented views of images.

    A sub-class makes ``heads``, from features ``(B, D)`` to outputs ``(heads, B, k)``, and says
    in :meth:`batch_labels` what they are to predict.

    Batches are dictionaries with ``image``, float32 in [0, 1] or uint8 of shape
    ``(B, C, H, W)``. The images are augmented here, on their device.

    Everything random is seeded anew, from ``seed`` and the numbers of epoch and step, for each
    epoch's beginning and each step: that is all the random state there is, so a run resumed at
    an epoch equals one that never stopped.

    Args:
        model: timm encoder.
        in_channels: Bands of the images.
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
        warmup: Steps over which the rate rises to ``lr``. With any, it changes with every step
            instead of every epoch, as a few epochs need.
        freeze_batch_norm: Keep the batch normalisation of the encoder as it came: statistics
            that a pretrained encoder brings are worth more than those of a few epochs.
        chunks: Forward passes that a step's views are shared among. Above 1, memory is that of
            one of them: the backward pass computes each part's activations again. Gradients are
            those of so many passes without that, and batch normalisation sees the views of one
            pass at a time; frozen, it makes no difference at all.
        compile: Whether to run the encoder through ``torch.compile``; where that fails, a line
            on stderr says so and it runs as it is.
        seed: Of weights and views.
    """

    heads: nn.Module

    def __init__(
        self,
        model: str = "resnet18",
        in_channels: int = 3,
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
        warmup: int = 0,
        freeze_batch_norm: bool = False,
        chunks: int = 1,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = create_encoder(model, in_channels, seed)
        check_size(self.encoder, size)
        self.features = cast(int, self.encoder.num_features)
        # Most of a CPU step is convolutions, which run faster on this layout.
        self.encoder.to(memory_format=torch.channels_last)
        if compile:
            self.encoder.compile()
        self.augment = augmentation(augment, size, mean, std, rgb)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but for batch normalisation that is to stay as it is."""
        super().train(mode)
        if self.hparams["freeze_batch_norm"]:
            for module in self.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def batch_labels(self, batch: dict[str, Tensor]) -> Tensor:
        """Return what is to be predicted of a batch: ``(views, heads, B)`` int64 in [0, k)."""
        raise NotImplementedError

    def keep_outputs(self, batch: dict[str, Tensor], outputs: Tensor) -> None:
        """Be shown the outputs ``(views, heads, B, k)`` of each step; nothing is kept here."""

    def forward(self, images: Tensor) -> Tensor:
        """Return outputs before softmax, float32 ``(heads, B, k)``, of normalised images.

        The heads are never run in half precision: its few bits would put many rows on ties,
        which no translation splits, and the labels could not become even.
        """
        chunks = self.hparams["chunks"]
        if chunks == 1:
            features = self._encoded(images)
        elif torch.is_grad_enabled():
            features = torch.cat([self._encoded_again(part) for part in images.chunk(chunks)])
        else:
            features = torch.cat([self._encoded(part) for part in images.chunk(chunks)])
        with torch.autocast(images.device.type, enabled=False):
            return self.heads(features.float())

    def _encoded(self, images: Tensor) -> Tensor:
        try:
            return self.encoder(images)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            print(f"torch.compile failed, going on without it: {reason}", file=sys.stderr)
            self.encoder._compiled_call_impl = None
            return self.encoder(images)

    def _encoded_again(self, images: Tensor) -> Tensor:
        """Encode without keeping activations; the backward pass computes them again."""
        return checkpoint(
            self._encoded,
            images,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _statistics_left_alone(self.encoder)),
        )

    def view_outputs(self, images: Tensor) -> Tensor:
        """Return outputs ``(views, heads, B, k)`` of freshly augmented views of ``images``.

        One forward pass over the stacked views, so that batch normalisation sees them all.

        Args:
            images: float32 in [0, 1] or uint8, ``(B, C, H, W)``.
        """
        views, batch = self.hparams["views"], len(images)
        with torch.autocast(images.device.type, enabled=False):
            stacked = torch.cat([self.augment(images) for _ in range(views)])
        outputs = self(stacked.contiguous(memory_format=torch.channels_last))
        return outputs.unflatten(1, (views, batch)).transpose(0, 1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the label-consistent loss of a batch, the mean over the heads."""
        outputs = self.view_outputs(batch["image"])
        self.keep_outputs(batch, outputs.detach())
        labels = self.batch_labels(batch)
        loss = torch.stack(
            [
                label_consistent_loss(outputs[:, head], labels[:, head])
                for head in range(outputs.shape[1])
            ]
        ).mean()
        size = len(batch["image"])
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def on_train_epoch_start(self) -> None:
        """Seed the epoch and begin to measure it."""
        self._seed(self.current_epoch)
        self._seen = 0
        self._began = time.perf_counter()
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

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Log, after the last batch, what the epoch cost: callbacks end an epoch before tasks."""
        self._seen += len(batch["image"])
        if not self.trainer.is_last_batch:
            return
        if not math.isfinite(outputs["loss"]):
            raise InputError(
                f"training has diverged in epoch {self.current_epoch + 1} (the loss is not "
                f"finite): lower the learning rate, now {self.hparams['lr']:g}"
            )
        seconds = time.perf_counter() - self._began
        self.log("train_seconds", seconds)
        self.log("images_per_second", self._seen / seconds)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        """Return SGD with the steps of section 4.3, or a cosine where there are none."""
        settings = self.hparams
        optimizer = torch.optim.SGD(
            self.parameters(),
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


@contextmanager
def _statistics_left_alone(encoder: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from counting a second time what it has seen."""
    tracking = [
        (module, module.momentum, module.num_batches_tracked, module.num_batches_tracked.clone())
        for module in encoder.modules()
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None
    ]
    for module, *_ in tracking:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum, count, batches in tracking:
            module.momentum = momentum
            count.copy_(batches)
