"""Linear probes of an encoder's stages."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rs_otl.errors import InputError
from rs_otl.evaluation.features import extract_features
from rs_otl.models import Encoder

if TYPE_CHECKING:
    from rs_otl.datasets import CachedDataset

# A map is pooled to about this many numbers: 9,216 to 9,600 for the five maps of AlexNet.
_NUMBERS = 9216


def stages(encoder: Encoder) -> tuple[str, ...]:
    """Name the stages of an encoder, as timm's ``feature_info`` lists them.

    Raises:
        InputError: If timm gives no maps of them.
    """
    module: Any = encoder.module
    if not hasattr(module, "forward_intermediates") or not hasattr(module, "feature_info"):
        raise InputError(
            f"{encoder.source}: {encoder.config.encoder} gives no maps of its stages; expected an "
            "encoder with timm's forward_intermediates, such as a ResNet"
        )
    return tuple(str(stage["module"]) for stage in module.feature_info)


def stage_position(encoder: Encoder, stage: int) -> int:
    """Return the position of a stage in :func:`stages`, counted from the first.

    Args:
        encoder: The encoder.
        stage: The position, or a negative number that counts from the last, which is -1.

    Raises:
        InputError: If there is no such stage; see also :func:`stages`.
    """
    count = len(stages(encoder))
    if not -count <= stage < count:
        raise InputError(
            f"{encoder.source}: stage {stage}: {encoder.config.encoder} has {count} stages; "
            f"expected 0 to {count - 1} or -{count} to -1"
        )
    return stage % count


def stage_features(
    encoder: Encoder,
    dataset: "CachedDataset",
    indices: Sequence[int] | NDArray[np.int64],
    stage: int,
    progress: bool = False,
) -> Tensor:
    """Extract the map of a stage, pooled to about 9,000 numbers as in self-labelling.

    Pooling takes the maximum of each part (Asano et al., ICLR 2020, after Zhang et al., CVPR 2017):
    10 x 10 parts of 96 channels, 6 x 6 of 256, 5 x 5 of 384; at most one part per map pixel.

    Args:
        encoder: The encoder; see :func:`stages`.
        dataset: See :func:`rs_otl.evaluation.extract_features`.
        indices: Positions of the n images.
        stage: Position in :func:`stages`; -1 is the last.
        progress: Whether to show a bar on standard error.

    Returns:
        ``(n, D)`` float32, on the CPU.

    Raises:
        InputError: If there is no such stage; see also :func:`rs_otl.evaluation.extract_features`.
    """
    part = Encoder(
        _Stage(encoder.module, stage_position(encoder, stage)),
        encoder.config,
        encoder.source,
        precision=encoder.precision,
    )
    return extract_features(part, dataset, indices, progress)


class _Stage(nn.Module):
    """From normalised images to the pooled map of a stage."""

    def __init__(self, module: nn.Module, stage: int) -> None:
        super().__init__()
        self.module = module
        self.stage = stage

    def forward(self, images: Tensor) -> Tensor:
        module = cast(Any, self.module)
        (maps,) = module.forward_intermediates(
            images, [self.stage], stop_early=True, intermediates_only=True
        )
        side = max(1, round(math.sqrt(_NUMBERS / maps.shape[1])))
        height, width = (min(side, extent) for extent in maps.shape[2:])
        return F.adaptive_max_pool2d(maps.float(), (height, width)).flatten(1)
