"""Making an encoder."""

import difflib

import timm
import torch
from torch import nn

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
