"""Run an encoder, compiled if wanted, and in parts when memory is short."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from rs_otl.errors import note


def encode(encoder: nn.Module, images: Tensor, chunks: int = 1, passes: int = 1) -> Tensor:
    """Return the features of images, in several forward passes if wanted or memory is short.

    With several chunks the backward pass computes the activations of each chunk again, so that
    memory holds the activations of at most one chunk. The gradients are those of as many separate
    passes: batch normalisation sees the images of one pass at a time.

    Args:
        encoder: From normalised images ``(B, C, H, W)`` to features ``(B, D)``.
        images: Normalised images.
        chunks: Number of passes when memory is short. Each pass has at least two images, or batch
            normalisation would fail, so few images take fewer passes.
        passes: Number of equal parts of the images that batch normalisation sees separately.
            Each part is divided into ``chunks``.

    Returns:
        Features ``(B, D)``.
    """
    if passes > 1:
        parts = images.tensor_split(passes)
        return torch.cat([encode(encoder, part, chunks) for part in parts])
    chunks = max(1, min(chunks, len(images) // 2))
    if chunks == 1:
        return _forward(encoder, images)
    parts = images.tensor_split(chunks)
    if not torch.is_grad_enabled():
        return torch.cat([_forward(encoder, part) for part in parts])
    return torch.cat([_forward_without_activations(encoder, part) for part in parts])


def _forward(encoder: nn.Module, images: Tensor) -> Tensor:
    try:
        return encoder(images)
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        note(f"torch.compile failed, going on without it: {reason}")
        encoder._compiled_call_impl = None
        return encoder(images)


def _forward_without_activations(encoder: nn.Module, images: Tensor) -> Tensor:
    """Encode without keeping activations; the backward pass computes them again."""
    return checkpoint(
        _forward,
        encoder,
        images,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _statistics_kept(encoder)),
    )


@contextmanager
def _statistics_kept(encoder: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from counting a batch twice when it is computed again."""
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
