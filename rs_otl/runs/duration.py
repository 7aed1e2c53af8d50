"""How long a run takes on this machine, measured before it is begun."""

import time
from contextlib import nullcontext
from functools import lru_cache

import torch

from rs_otl.errors import InputError
from rs_otl.models import resolve_precision
from rs_otl.models.encoder import resolve_device
from rs_otl.progress import time_in_words
from rs_otl.recipe import Recipe, recipe_for
from rs_otl.spec import load_size
from rs_otl.trainers import OTLTask

# Runs with fewer pixels in all views take about half a minute on two cores with a small
# encoder.
_TINY = 2e7
# Batches are doubled up to the run's own until a step takes this long, in seconds.
_LONG_STEP = 0.6
_LONG_RUN = 12 * 3600
# A run is proposed instead of a long one if it is this many times shorter.
_MUCH_SHORTER = 10


def run_seconds(
    recipe: Recipe, images: int, bands: int = 3, device: str | torch.device = "auto"
) -> float:
    """Estimate how long a run takes, from a few steps on images of zeros.

    The steps take a second or two; a recipe like one measured before takes no time. Not counted:
    decoding, scores, ``torch.compile``, and the time that several processes save.

    Args:
        recipe: The recipe.
        images: Number of training images.
        bands: Bands of the images.
        device: Where the run computes; ``"auto"`` is the GPU if there is one.

    Returns:
        Seconds.
    """
    step, forward = _seconds_per_view(
        recipe.encoder,
        recipe.image_size,
        bands,
        recipe.augment,
        recipe.operations,
        resolve_precision(recipe.precision, device),
        resolve_device(device),
        max(2, recipe.views * min(recipe.batch_size, images) // recipe.chunks),
    )
    if recipe.chunks > 1:  # the backward pass repeats the forward pass
        step += forward
    label_views = 0.0
    if recipe.makes_labels and recipe.relabel == "fresh":
        label_views = len(recipe.label_batch_sizes) or recipe.views
        label_views = (1 if recipe.temperature is not None else label_views) / recipe.relabel_every
    views = recipe.views + recipe.local_views * (recipe.local_side / recipe.image_size) ** 2
    return images * recipe.epochs * (views * step + label_views * forward)


def is_tiny(recipe: Recipe, images: int) -> bool:
    """Whether a run takes about as little time as measuring how long it takes."""
    return images * recipe.views * recipe.epochs * recipe.image_size**2 < _TINY


def expectation(
    recipe: Recipe,
    images: int,
    bands: int = 3,
    device: str | torch.device = "auto",
    runs: int = 1,
) -> str:
    """Say how long a run takes and, for a long run, what would be much shorter.

    Args:
        recipe: The recipe.
        images: Number of training images.
        bands: Bands of the images.
        device: Where the run computes.
        runs: Number of runs; all but the first train with labels.

    Returns:
        A text such as ``"about 41 days on this machine; --recipe quick takes 50 minutes"``.
    """

    def all_runs(recipe: Recipe) -> float:
        labelled = recipe.model_copy(update={"supervised": True})
        seconds = run_seconds(recipe, images, bands, device)
        return seconds + (runs - 1) * run_seconds(labelled, images, bands, device)

    seconds = all_runs(recipe)
    if seconds < _LONG_RUN:
        return f"about {time_in_words(seconds)}"
    words = f"about {time_in_words(seconds)} on this machine"
    try:
        quick = recipe_for(recipe.dataset, "quick")[0]
    except InputError:  # the recipes of this installation are gone
        return words
    kept = recipe.model_dump(include={"encoder", "init", "supervised"})
    quick_seconds = all_runs(quick.model_copy(update=kept))
    if quick_seconds * _MUCH_SHORTER > seconds:
        return words
    return f"{words}; --recipe quick takes {time_in_words(quick_seconds)}"


@lru_cache
def _seconds_per_view(
    encoder: str,
    size: int,
    bands: int,
    augment: str,
    operations: int,
    precision: str,
    device: torch.device,
    most: int,
) -> tuple[float, float]:
    """Measure a step and a pass without gradients, in seconds per view.

    Args:
        encoder: timm architecture.
        size: Side of a view in pixels.
        bands: Bands of the images.
        augment: Kind of views.
        operations: Operations of a strong view.
        precision: ``"float32"`` or ``"bf16"``.
        device: Where to compute.
        most: Views in a pass of the run, two or more.
    """
    generators = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(generators):
        task = OTLTask(
            encoder,
            in_channels=bands,
            size=size,
            clusters=2,
            augment=augment,
            operations=operations,
        ).to(device)
        side = load_size(size)

        def passed(views: int, gradients: bool) -> float:
            images = torch.zeros((views, bands, side, side), device=device)
            began = time.perf_counter()
            autocast = (
                torch.autocast(device.type, torch.bfloat16)
                if precision == "bf16"
                else nullcontext()
            )
            with torch.set_grad_enabled(gradients), autocast:
                result = task.view_outputs(images, views=1).mean()
            if gradients:
                result.backward()
            result.item()  # waits until the device is done
            return time.perf_counter() - began

        views = min(4, most)
        passed(views, gradients=True)  # the first one compiles and chooses kernels
        step = passed(views, gradients=True)
        while step < _LONG_STEP and views < most:
            views = min(2 * views, most)
            step = passed(views, gradients=True)
        return step / views, passed(views, gradients=False) / views
