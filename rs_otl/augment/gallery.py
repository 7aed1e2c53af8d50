"""A picture of all operations and of some views."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rs_otl.augment.geometry import resample
from rs_otl.augment.operations import OPERATIONS, grey_weights, operate
from rs_otl.augment.views import SimpleViews, StrongViews

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 6


def operations_gallery(image: Tensor, size: int, rgb: bool) -> "Figure":
    """Draw every strong operation on one image, and both kinds of whole views of it.

    Each operation is shown at the lowest, middle and highest value of its range, on the whole
    image; below, six simple and six strong views, drawn from torch's global generator. A hole
    is grey: its value, 0 after normalising, is the mean.

    Args:
        image: (C, S, S), float32 in [0, 1]. The first three bands are shown as red, green and
            blue; if there are one or two bands, the first is shown in grey. Unless ``rgb``, all
            pictures are brightened by one power (gamma) that shows the image's median as
            mid-grey, since reflectances fill little of [0, 1].
        size: Side of the views in pixels.
        rgb: Whether the bands are red, green and blue.

    Returns:
        A matplotlib figure, not shown or saved; ``figure.savefig(path)`` does.
    """
    from matplotlib.figure import Figure

    bands = len(image)
    weights = grey_weights(bands, rgb)
    batch = image.detach().cpu().float()[None]
    whole = resample(batch, torch.eye(2, 3)[None], size)

    pictures = []
    for name, (low, high) in OPERATIONS.items():
        for value in [low] if low == high else [low, (low + high) / 2, high]:
            label = name.replace("_", " ") + ("" if low == high else f" {value:.3g}")
            pictures.append((label, operate(name, whole, torch.tensor([value]), weights)[0]))
    for kind, pipeline in (("simple", SimpleViews), ("strong", StrongViews)):
        views = pipeline(size, [0.5] * bands, [1.0] * bands, rgb)
        for view in views(batch.expand(_COLUMNS, -1, -1, -1)) + 0.5:
            pictures.append((f"{kind} view", view))

    shown = 3 if bands >= 3 else 1
    median = float(whole[0, :shown].median().clamp(0.01, 0.99))
    power = 1.0 if rgb else math.log(0.5) / math.log(median)
    rows = -(-len(pictures) // _COLUMNS)
    figure = Figure(figsize=(1.6 * _COLUMNS, 1.8 * rows), layout="constrained")
    for axes, (label, picture) in zip(figure.subplots(rows, _COLUMNS).flat, pictures, strict=True):
        _show(axes, picture[:shown].clamp(0, 1) ** power, label)
    return figure


def _show(axes: "Axes", picture: Tensor, label: str) -> None:
    axes.imshow(picture.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_title(label, fontsize=8)
    axes.set_axis_off()
