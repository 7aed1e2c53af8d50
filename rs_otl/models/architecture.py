"""Making an encoder."""

import difflib
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from rs_otl.errors import InputError


def create_encoder(name: str, in_chans: int, seed: int = 0) -> nn.Module:
    """Make a timm model without its classifier, randomly initialised.

    Args:
        name: A timm architecture, for example ``"resnet18"``.
        in_chans: Bands of the images.
        seed: Of the random weights; the global random state is left as it was.

    Returns:
        A module from ``(B, in_chans, H, W)`` to features ``(B, D)``, with ``D`` as its
        ``num_features``.

    Raises:
        InputError: If timm has no such model.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise InputError(f"encoder {name!r}: expected the name of a timm model{hint}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_chans)


def check_size(encoder: nn.Module, size: int) -> None:
    """Raise an :class:`InputError` if an encoder takes views of one size, and not of this one.

    Args:
        encoder: As :func:`create_encoder` makes it.
        size: Side of a view in pixels.
    """
    known = cast(dict[str, Any], encoder.pretrained_cfg)
    own = known["input_size"][-1]
    if known.get("fixed_input_size") and size != own:
        raise InputError(
            f"{known['architecture']} takes images of {own} pixels alone, not of {size}: expected "
            f"image_size = {own}, or an encoder without a fixed size"
        )


def fill_encoder(
    encoder: nn.Module, weights: Mapping[str, Tensor], architecture: str, source: str
) -> None:
    """Load weights into an encoder, every tensor of it.

    Args:
        encoder: As :func:`create_encoder` makes it.
        weights: By the encoder's own names; those of a classifier are left out.
        architecture: The encoder's, for the error.
        source: Where the weights come from, for the error.

    Raises:
        InputError: If a tensor is missing, superfluous or of another shape.
    """
    own = encoder.state_dict()
    classifier = cast(dict[str, Any], encoder.pretrained_cfg)["classifier"]
    classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    heads = tuple(f"{name}." for name in classifiers)
    given = {
        name: tensor
        for name, tensor in weights.items()
        if name in own or not name.startswith(heads)
    }
    wrong = [f"{name} is missing" for name in own if name not in given]
    wrong += [f"{name} is not part of it" for name in given if name not in own]
    wrong += [
        f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(
            f"{source}: expected the weights of {architecture}, every tensor of it: "
            f"{'; '.join(wrong[:3])}{more}"
        )
    encoder.load_state_dict(given)
