"""Images → frozen features."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from rs_otl.errors import InputError
from rs_otl.progress import tracked


def extract_features(
    encoder: nn.Module,
    view: nn.Module,
    imagery: Dataset[dict[str, Tensor]],
    indices: Sequence[int] | np.ndarray,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Tensor:
    """Run the frozen encoder over the test views of images.

    Both modules are in evaluation mode meanwhile, and every part of them is in its own mode
    again afterwards. No weight, buffer or random state changes.

    Args:
        encoder: From ``(B, C, S, S)`` float32 to features ``(B, D)``. Moved to ``device``,
            and left there.
        view: From images ``(B, C, H, W)`` float32 in [0, 1] to what the encoder expects,
            ``(B, C, S, S)``. Moved likewise.
        imagery: Gives for an index a sample whose ``"image"`` is ``(C, H, W)`` float32 in
            [0, 1], all of one size; a ``__getitems__`` that gives a whole batch is used.
        indices: The n images, n >= 1, in the order of the rows wanted.
        batch_size: Images at once.
        device: Where the encoder runs.
        progress: Whether to show a bar on standard error.

    Returns:
        Features ``(n, D)`` float32, on the CPU.

    Raises:
        InputError: If there is no image, or what the encoder gives is not a finite vector
            an image.
    """
    if len(indices) == 0:
        raise InputError("no image to take features of: expected at least one index")
    loader = DataLoader(
        imagery,
        batch_size=batch_size,
        sampler=[int(index) for index in indices],
        collate_fn=_collate,
        # A loader draws a seed each time it is gone through: not from the global generator,
        # which training may be using.
        generator=torch.Generator(),
    )
    encoder.to(device)
    view.to(device)
    parts = []
    with _evaluating(encoder, view), torch.inference_mode():
        for batch in tracked(loader, "Features", progress):
            features = encoder(view(batch["image"].to(device)))
            if features.ndim != 2:
                raise InputError(
                    f"the encoder gives {tuple(features.shape)} for a batch: expected (B, D); "
                    "make it without a classifier and with pooling (num_classes=0 in timm)"
                )
            if not features.isfinite().all():
                raise InputError(
                    "the encoder gives features that are not finite: expected real numbers; "
                    "its training has diverged, try a lower lr"
                )
            parts.append(features.float().cpu())
    # Outside the block: a tensor made in inference mode could not be trained on.
    return torch.cat(parts)


def _collate(samples: Any) -> dict[str, Tensor]:
    """Let a batch of ``__getitems__`` through; stack a list of samples."""
    return samples if isinstance(samples, dict) else default_collate(samples)


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in evaluation mode, and each part back in its own at the end."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training
