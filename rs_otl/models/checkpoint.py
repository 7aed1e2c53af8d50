"""Taking an encoder out of a checkpoint file."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rs_otl.errors import InputError
from rs_otl.models.architecture import create_encoder, fill_encoder
from rs_otl.spec import RGB, EncoderConfig, ImageSpec, band_names

# Where tasks keep their encoder: ours, torchgeo's self-supervised ones, and its others.
_PREFIXES = ("encoder.", "backbone.", "model.")


def read_checkpoint(path: Path) -> tuple[nn.Module, EncoderConfig]:
    """Take the encoder out of a checkpoint, without unpickling code.

    It must name its architecture, as ``hyper_parameters.model``: the ``encoder.pth`` of an
    export, checkpoints of rs-otl's runs and of torchgeo's trainers do. What a checkpoint does not
    say is taken to be as torchgeo's trainers have it: red, green and blue in 8 bits, divided by
    255 and not normalised further, views of 224 pixels.

    Args:
        path: A file that ``torch.save`` wrote.

    Returns:
        The encoder and its description.

    Raises:
        InputError: If the file is truncated, holds code or something else, does not name its
            architecture, or lacks a tensor of it.
    """
    checkpoint = _read(path)
    settings = checkpoint.get("hyper_parameters")
    settings = settings if isinstance(settings, dict) else {}
    architecture = settings.get("model")
    tensors = checkpoint.get("state_dict")
    if not isinstance(architecture, str) or not isinstance(tensors, dict):
        raise InputError(
            f"{path}: the architecture of these weights is not in the file; expected "
            "hyper_parameters.model and a state_dict, as in the encoder.pth of `rs-otl export` or "
            "a checkpoint of torchgeo; or give the encoder's directory"
        )
    if "rs_otl" in checkpoint:
        config = EncoderConfig.model_validate(checkpoint["rs_otl"])
    else:
        config = _described(settings, architecture, path)
    prefix = next(
        (prefix for prefix in _PREFIXES if any(name.startswith(prefix) for name in tensors)), ""
    )
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    encoder = create_encoder(config.encoder, len(config.spec.bands))
    fill_encoder(encoder, weights, config.encoder, str(path))
    return encoder, config


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        # Torch's advice, to load with code allowed, is not ours.
        told = str(error)
        reason = "it holds code or other objects"
        if "weights_only" not in told or "Unsupported operand" in told:  # a page saved as a file
            reason = "not one"
        if isinstance(error, RuntimeError | EOFError):
            reason = "truncated or damaged"
        raise InputError(
            f"{path}: expected a whole checkpoint of tensors and plain values ({reason}); "
            "nothing of it was executed"
        ) from None
    return checkpoint if isinstance(checkpoint, dict) else {}


def _described(settings: dict[str, Any], architecture: str, path: Path) -> EncoderConfig:
    """Describe an encoder by the settings of the task that trained it."""
    channels = int(settings.get("in_channels", 3))
    rgb = channels == len(RGB) and settings.get("rgb", True)
    return EncoderConfig(
        encoder=architecture,
        image_size=int(settings.get("size", 224)),
        spec=ImageSpec(
            bands=RGB if rgb else band_names(channels),
            units="8-bit counts",
            scale=255,
            resolution=None,
            mean=tuple(settings.get("mean", (0.0,) * channels)),
            std=tuple(settings.get("std", (1.0,) * channels)),
        ),
        dataset=f"that of {path.name}",
        epochs=None,
    )
