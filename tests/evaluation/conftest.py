"""Labelled images in memory, and an encoder small enough to run in an instant."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from rs_otl.datasets import Division, Duplicates
from rs_otl.models import Encoder
from rs_otl.spec import RGB, EncoderConfig, ImageSpec

SPEC = ImageSpec(
    bands=RGB, units="8-bit counts", scale=255, resolution=None, mean=(0.5,) * 3, std=(0.25,) * 3
)
CONFIG = EncoderConfig(encoder="tiny", image_size=8, spec=SPEC, dataset="made", epochs=0)


@dataclass
class Pile(Dataset):
    """What evaluation needs of ``CachedDataset``: squares whose colour is that of their class."""

    images: Tensor
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...] | None
    name: str = "pile"
    missing: str | None = None
    spec: ImageSpec = SPEC
    left_out: list[object] = field(default_factory=list)
    asked: list[list[int]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [f"{number:03}.png" for number in range(len(self.images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": self.images[index], "index": torch.tensor(index)}


class BatchedPile(Pile):
    """The same, giving whole batches."""

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        self.asked.append(indices)
        return {"image": self.images[indices], "index": torch.tensor(indices)}


class TinyModule(nn.Module):
    """Everything that evaluation could disturb: running statistics and random dropping."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture
def module() -> TinyModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyModule()


@pytest.fixture
def config() -> EncoderConfig:
    return CONFIG


@pytest.fixture
def encoder(module) -> Encoder:
    return Encoder(module, CONFIG, "tiny")


def make_pile(
    count: int = 120, classes: int = 3, noise: float = 0.2, kind: type[Pile] = BatchedPile
) -> Pile:
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % classes
    colours = torch.rand(classes, 3, 1, 1, generator=generator)
    images = colours[labels] + noise * torch.randn(count, 3, 9, 9, generator=generator)
    names = tuple(f"class {label}" for label in range(classes))
    return kind(images.clamp(0, 1), labels.numpy(), names)


@pytest.fixture
def pile() -> Callable[..., Pile]:
    return make_pile


def make_division(
    train: list[int] | range | NDArray[np.int64],
    test: list[int] | range | NDArray[np.int64],
    duplicates: Duplicates | None = None,
) -> Division:
    return Division(
        number=1,
        train=np.asarray(train, np.int64),
        test=np.asarray(test, np.int64),
        duplicates=duplicates or Duplicates((), (), 0),
    )


@pytest.fixture
def division() -> Callable[..., Division]:
    return make_division


@pytest.fixture
def batched_pile() -> type[Pile]:
    return BatchedPile


@pytest.fixture
def plain_pile() -> type[Pile]:
    return Pile
