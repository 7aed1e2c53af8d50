"""Images → frozen features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from rs_otl.errors import InputError
from rs_otl.models import Encoder
from rs_otl.progress import tracked
from rs_otl.spec import ImageSpec


def extract_features(
    encoder: Encoder,
    dataset: Dataset[dict[str, Tensor]],
    indices: Sequence[int] | np.ndarray,
    progress: bool = False,
) -> Tensor:
    """Embed images of a data set with a frozen encoder.

    No weight, buffer, mode or random state changes.

    Args:
        encoder: The encoder.
        dataset: Returns for an index a sample whose ``"image"`` is ``(C, H, W)`` float32 in
            [0, 1], all of one size, with the encoder's bands in its order; a ``__getitems__`` that
            returns a whole batch is used. If it has a ``spec``, its values are checked by it.
        indices: Positions of the n images, n >= 1, in the order of the rows wanted.
        progress: Whether to show a bar on standard error.

    Returns:
        Features ``(n, D)`` float32, on the CPU.

    Raises:
        InputError: If there is no image; see also :meth:`rs_otl.models.Encoder.embed` and
            :meth:`rs_otl.models.Encoder.check_values`.
    """
    spec = getattr(dataset, "spec", None)
    if isinstance(spec, ImageSpec):
        encoder.check_values(spec)
    if len(indices) == 0:
        raise InputError("no image to extract features of: expected at least one index")
    loader = DataLoader(
        dataset,
        batch_size=encoder.batch_size,
        sampler=[int(index) for index in indices],
        collate_fn=_collate,
        # A loader draws a seed whenever it is iterated. It must not draw from the global
        # generator, which training may be using.
        generator=torch.Generator(),
    )
    batches = tracked(loader, "Features", progress)
    return torch.cat([encoder.embed(batch["image"]) for batch in batches])


def _collate(samples: Any) -> dict[str, Tensor]:
    """Let a batch of ``__getitems__`` through; stack a list of samples."""
    return samples if isinstance(samples, dict) else default_collate(samples)
