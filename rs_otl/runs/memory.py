"""Check that a run fits into memory, before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from rs_otl.errors import InputError
from rs_otl.memory import GIB, available_bytes
from rs_otl.models import CosineHead, OutputHeads, create_encoder, feature_width, restrict_training
from rs_otl.models.encoder import resolve_device
from rs_otl.recipe import Recipe

# A weight, its gradient and its momentum.
_WEIGHT_BYTES = 12
# Share of the free memory that a proposal fills.
_FILLED = 0.8


@dataclass(frozen=True)
class Need:
    """What a run keeps in memory at least, in bytes, besides the program and its images.

    Attributes:
        weights: Weights, their gradients and momentum.
        step: What a step keeps for its backward pass.
        outputs: The outputs that labels are made from.
        together: Whether outputs are kept while steps are made.
    """

    weights: int
    step: int
    outputs: int
    together: bool

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        both = (self.step, self.outputs)
        return self.weights + (sum(both) if self.together else max(both))


def refuse_too_much(
    recipe: Recipe,
    bands: int,
    images: int,
    processes: int = 1,
    device: str | torch.device = "auto",
) -> None:
    """Refuse a run that cannot fit into the memory of the GPU, or of this machine without a GPU.

    Only what must be kept is counted, so a run that fits is never refused. What a step keeps is
    counted by running the network once without data.

    Args:
        recipe: The recipe, its precision resolved.
        bands: Bands of the images.
        images: Number of training images, or fewer.
        processes: Processes that share the memory.
        device: Where the run computes.

    Raises:
        InputError: If it needs more than is free. The error has both numbers, and keys that help.
    """
    batch = max(2, min(recipe.batch_size, images // processes))
    recipe = recipe.model_copy(update={"batch_size": batch})
    need = estimate(recipe, bands, images)
    on_gpu = resolve_device(device).type == "cuda"
    free = _free_bytes(on_gpu) // processes
    if need.total <= free:
        return
    parts = {
        f"{need.weights / GIB:.1f} for weights, gradients and momentum": need.weights,
        f"{need.step / GIB:.1f} for a step of {recipe.views:,} views x {recipe.batch_size:,} "
        f"images of {recipe.image_size:,} pixels": need.step,
        f"{need.outputs / GIB:.1f} for the outputs of {recipe.views:,} views x {recipe.heads:,} "
        f"heads x {images:,} images x {_clusters(recipe, images):,} clusters": need.outputs,
    }
    what = ", ".join(part for part, size in parts.items() if size >= 0.05 * need.total)
    where = "the GPU's memory" if on_gpu else "memory"
    raise InputError(
        f"{recipe.encoder} needs {need.total / GIB:,.1f} GiB of {where} ({what}), but only "
        f"{free / GIB:,.1f} GiB are free: {_advice(recipe, need, free)}"
    )


def estimate(recipe: Recipe, bands: int, images: int) -> Need:
    """Estimate what a run keeps in memory; see :func:`refuse_too_much`."""
    if not recipe.makes_labels:  # one small head; the number of its outputs matters little
        recipe = recipe.model_copy(
            update={"clusters": 2, "heads": 1, "hidden": 0, "temperature": None}
        )
    clusters = _clusters(recipe, images)
    with torch.device("meta"):
        encoder = create_encoder(
            recipe.encoder, bands, image_size=recipe.image_size, pool=recipe.pool
        )
        restrict_training(encoder, recipe.tune, recipe.lora_rank)
        features = feature_width(encoder)
        head: nn.Module = (
            OutputHeads(features, clusters, 1, recipe.hidden)
            if recipe.temperature is None
            else CosineHead(features, clusters, recipe.temperature)
        )
    weights = _numbers(encoder) + recipe.heads * _numbers(head)
    rows = 1
    if recipe.temperature is None:
        rows = recipe.heads * (len(recipe.label_batch_sizes) or recipe.views)
    return Need(
        weights=_WEIGHT_BYTES * weights,
        step=_step_bytes(recipe, encoder, bands),
        outputs=4 * rows * images * clusters if recipe.makes_labels else 0,
        together=recipe.relabel == "reuse",
    )


def _numbers(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _step_bytes(recipe: Recipe, encoder: nn.Module, bands: int) -> int:
    """Return the bytes that a step keeps for its backward pass, without those of the heads."""
    images = recipe.views * recipe.batch_size
    # With views apart each view has its own passes.
    largest_pass = recipe.batch_size if recipe.views_apart and recipe.chunks > 1 else images
    shape = (bands, recipe.image_size, recipe.image_size)
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    encoder.to(dtype).train()
    weights = {
        weight.untyped_storage()._cdata for weight in (*encoder.parameters(), *encoder.buffers())
    }
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    sizes = [(-(-largest_pass // recipe.chunks), *shape)]
    if recipe.local_views:  # their pass is kept together with that of the views
        side = recipe.local_side
        count = -(-recipe.local_views * recipe.batch_size // recipe.chunks)
        sizes.append((count, bands, side, side))
    try:
        with saved_tensors_hooks(keep, lambda tensor: tensor), _FusedAttention():
            for size in sizes:
                encoder(torch.empty(size, dtype=dtype, device="meta"))
    except Exception:  # a network that does not run without data cannot be measured
        return 0
    activations = sum(storage.nbytes() for storage in kept.values())
    if recipe.compile:
        activations //= 2  # cheap results are computed again
    views = 4 * images * torch.Size(shape).numel() if recipe.chunks > 1 else 0
    return activations + views


class _FusedAttention(TorchFunctionMode):
    """Makes attention keep what its fused kernels keep; without data PyTorch runs the plain one."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        """Replace attention by products of the same shapes."""
        if function is F.scaled_dot_product_attention and len(arguments) >= 3:
            query, key, value = arguments[:3]
            return query @ (key.transpose(-2, -1) @ value)
        return function(*arguments, **(options or {}))


def _clusters(recipe: Recipe, images: int) -> int:
    return max(2, images if recipe.clusters is None else min(recipe.clusters, images))


def _free_bytes(on_gpu: bool) -> int:
    if not on_gpu:
        return available_bytes()
    # PyTorch reserves memory that it can use again.
    idle = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return torch.cuda.mem_get_info()[0] + idle


def _advice(recipe: Recipe, need: Need, free: int) -> str:
    """Return keys that make the largest part smaller."""
    largest = max(need.step, need.outputs, need.weights)
    if largest == need.outputs:
        return "lower clusters or views with --set"
    if largest == need.weights:
        return "lower hidden, heads or clusters with --set"
    room = _FILLED * free - need.weights - (need.outputs if need.together else 0)
    images = recipe.views * recipe.batch_size
    chunks = -(-need.step * recipe.chunks // max(1, int(room)))
    if chunks <= images // 8:
        return f"--set chunks={chunks} makes a step in as many passes; or lower batch_size"
    return "lower image_size, views or batch_size with --set"
