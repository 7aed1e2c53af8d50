"""Other methods of learning without labels, with losses and heads from lightly.

Each is trained by :class:`Contender`: the same encoder, views, images, optimiser and schedule as
:class:`rs_otl.trainers.OTLTask`.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from lightly.loss import DINOLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss, VICRegLoss
from lightly.models.modules.heads import (
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    MoCoProjectionHead,
    SwaVProjectionHead,
    SwaVPrototypes,
    VICRegProjectionHead,
)
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn

from rs_otl.models import seeded
from rs_otl.trainers import OTLTask
from rs_otl.trainers.encode import encode

# An averaged network follows in about 1 / (1 - _MOMENTUM) steps, fewer than an epoch has.
_MOMENTUM = 0.99
_PROJECTION = 128
_PROTOTYPES = 512
# Most images that MoCo remembers, and the largest share of a small data set.
_QUEUE, _QUEUE_SHARE = 4096, 0.5


class Batch(NamedTuple):
    """The views of a batch, normalised.

    Attributes:
        views: Two views, ``(B, C, size, size)``.
        local: Local views, ``(B, C, local_size, local_size)``; none if the method has none.
        epoch: Epoch of the training, from 0.
    """

    views: list[Tensor]
    local: list[Tensor]
    epoch: int


class _Method(nn.Module):
    """A loss and its heads.

    Args:
        encoder: From normalised images to features ``(B, D)``.
        features: D.
        images: Number of training images.
    """

    def __init__(self, encoder: nn.Module, features: int, images: int) -> None:
        super().__init__()

    def forward(self, encoder: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError


class VICReg(_Method):
    """Makes views alike, and features spread and uncorrelated (Bardes et al., 2022)."""

    def __init__(self, encoder: nn.Module, features: int, images: int) -> None:
        super().__init__(encoder, features, images)
        self.head = VICRegProjectionHead(features, 2 * features, 2 * features)
        self.loss = VICRegLoss()

    def forward(self, encoder: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(*self.head(_together(encoder, batch.views)).chunk(2))


class MoCo(_Method):
    """Finds the other view, by an averaged network, among earlier batches (He et al., 2020)."""

    def __init__(self, encoder: nn.Module, features: int, images: int) -> None:
        super().__init__(encoder, features, images)
        self.head = MoCoProjectionHead(features, features, _PROJECTION)
        self.teacher = _Averaged(encoder, deepcopy(self.head))
        remembered = max(2, min(_QUEUE, int(_QUEUE_SHARE * images)))
        self.loss = NTXentLoss(temperature=0.2, memory_bank_size=(remembered, _PROJECTION))

    def forward(self, encoder: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        keys = self.teacher(encoder, self.head, batch.views)
        queries = self.head(_together(encoder, batch.views)).chunk(2)
        return (self.loss(queries[0], keys[1]) + self.loss(queries[1], keys[0])) / 2


class BYOL(_Method):
    """Predicts the output of an averaged network for the other view (Grill et al., 2020)."""

    def __init__(self, encoder: nn.Module, features: int, images: int) -> None:
        super().__init__(encoder, features, images)
        self.head = BYOLProjectionHead(features, 2 * features, _PROJECTION)
        self.predictor = BYOLPredictionHead(_PROJECTION, 2 * features, _PROJECTION)
        self.teacher = _Averaged(encoder, deepcopy(self.head))
        self.loss = NegativeCosineSimilarity()

    def forward(self, encoder: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        targets = self.teacher(encoder, self.head, batch.views)
        predicted = self.predictor(self.head(_together(encoder, batch.views))).chunk(2)
        return (self.loss(predicted[0], targets[1]) + self.loss(predicted[1], targets[0])) / 2


class SwAV(_Method):
    """Predicts the balanced clusters of the other view in a batch (Caron et al., 2020)."""

    def __init__(self, encoder: nn.Module, features: int, images: int) -> None:
        super().__init__(encoder, features, images)
        self.head = SwaVProjectionHead(features, features, _PROJECTION)
        self.prototypes = SwaVPrototypes(_PROJECTION, _PROTOTYPES)
        self.loss = SwaVLoss()

    def forward(self, encoder: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        self.prototypes.normalize()

        def similarities(views: list[Tensor]) -> list[Tensor]:
            if not views:
                return []
            projected = nn.functional.normalize(self.head(_together(encoder, views)), dim=1)
            return list(self.prototypes(projected).chunk(len(views)))

        return self.loss(similarities(batch.views), similarities(batch.local)).squeeze()


class DINO(_Method):
    """Predicts an averaged network's outputs, centred and sharpened (Caron et al., 2021)."""

    def __init__(self, encoder: nn.Module, features: int, images: int) -> None:
        super().__init__(encoder, features, images)
        with warnings.catch_warnings():  # lightly's head is made with torch's former weight_norm
            warnings.simplefilter("ignore", FutureWarning)
            self.head, other = (
                DINOProjectionHead(features, features, _PROJECTION, 2 * _PROTOTYPES)
                for _ in range(2)
            )
        other.load_state_dict(self.head.state_dict())
        self.teacher = _Averaged(encoder, other)
        self.loss = DINOLoss(output_dim=2 * _PROTOTYPES, warmup_teacher_temp_epochs=5)

    def forward(self, encoder: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        taught = self.teacher(encoder, self.head, batch.views)
        parts = [batch.views, batch.local] if batch.local else [batch.views]
        learnt = [
            view
            for views in parts
            for view in self.head(_together(encoder, views)).chunk(len(views))
        ]
        return self.loss(list(taught), learnt, epoch=batch.epoch)


class _Averaged(nn.Module):
    """An encoder and a head whose weights follow those that are trained.

    Args:
        encoder: The encoder that is trained.
        head: A copy of the head.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = deepcopy(encoder), head
        deactivate_requires_grad(self)

    @torch.no_grad()
    def forward(
        self, encoder: nn.Module, head: nn.Module, views: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Follow the weights by a step, and return the projections of each view."""
        update_momentum(encoder, self.encoder, _MOMENTUM)
        update_momentum(head, self.head, _MOMENTUM)
        return self.head(_together(self.encoder, views)).chunk(len(views))


def _together(encoder: nn.Module, views: list[Tensor]) -> Tensor:
    """Return the features of views in one pass, ``(len(views) x B, D)`` float32."""
    return encode(encoder, torch.cat(views)).float()


class Contender(OTLTask):
    """Another method trained as OTL's task is: with its views, optimiser, schedule and seeds.

    Args:
        make_method: Makes the loss and its heads from the encoder, its number of features and the
            number of training images.
        images: Number of training images.
        settings: Settings of :class:`rs_otl.trainers.OTLTask`; settings of labels have no effect.
    """

    ignore = ("weights", "augmentations", "make_method")

    def __init__(
        self, make_method: Callable[[nn.Module, int, int], nn.Module], images: int, **settings: Any
    ) -> None:
        self._make_method, self._images = make_method, images
        super().__init__(**settings, supervised=True)  # it makes no pseudo-labels

    def configure_models(self) -> None:
        """Make the encoder from the seed, and the method's heads."""
        super().configure_models()
        with seeded(self.hparams["seed"]):
            self.heads = self._make_method(self.encoder, self.features, self._images)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the method's loss of a batch."""
        images = batch["image"]
        views = self.make_views(self.augmentations, images, self.hparams["views"])
        local = self.hparams["local_views"]
        small = self.make_views(self.local_augmentations, images, local) if local else None
        loss = self.heads(
            self.encoder,
            Batch(
                list(views.chunk(self.hparams["views"])),
                [] if small is None else list(small.chunk(local)),
                self.current_epoch,
            ),
        )
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss
