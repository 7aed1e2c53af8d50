"""Reading the encoder of a checkpoint file."""

import pickle
import warnings
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from torch import nn

from rs_otl.errors import InputError, note
from rs_otl.models.architecture import build_encoder
from rs_otl.models.tuning import merged_weights
from rs_otl.spec import MAX_BANDS, RGB, EncoderConfig, ImageSize, Name, Pool, band_names, validated

# Where tasks keep their encoder: rs-otl's, torchgeo's self-supervised, and torchgeo's other tasks.
_PREFIXES = ("encoder.", "backbone.", "model.")


class _Settings(BaseModel):
    """What a task's hyper-parameters say about its encoder.

    The defaults are those of torchgeo's trainers: red, green and blue in 8 bits, divided by 255 and
    not normalised further, images of 224 pixels.
    """

    model: Name
    in_channels: Annotated[int, Field(ge=1, le=MAX_BANDS)] = len(RGB)
    size: ImageSize = 224
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    rgb: bool = True
    pool: Pool | None = None


class _Checkpoint(BaseModel):
    """The parts of a checkpoint that are read."""

    model_config = ConfigDict(extra="ignore")

    hyper_parameters: _Settings
    state_dict: dict[StrictStr, Any]
    rs_otl: EncoderConfig | None = None


def read_checkpoint(path: Path) -> tuple[nn.Module, EncoderConfig]:
    """Read the encoder of a checkpoint, without unpickling code.

    The file must name the architecture as ``hyper_parameters.model``. The ``encoder.pth`` of an
    export and the checkpoints of rs-otl's runs and torchgeo's trainers do.

    Args:
        path: A file that ``torch.save`` wrote.

    Returns:
        The encoder and its description.

    Raises:
        InputError: If the file is truncated, holds code or something else, does not name its
            architecture, or its description or weights are not as expected.
    """
    values = read_tensors(path)
    settings = values.get("hyper_parameters")
    if not isinstance(settings, dict) or "model" not in settings or "state_dict" not in values:
        raise InputError(
            f"{path}: the architecture of these weights is not in the file; expected "
            "hyper_parameters.model and a state_dict, as in the encoder.pth of `rs-otl export` or "
            "a checkpoint of torchgeo; or give the encoder's directory"
        )
    checkpoint = validated(_Checkpoint, values, str(path))
    tensors = checkpoint.state_dict
    config = checkpoint.rs_otl or _describe(checkpoint.hyper_parameters, path)
    prefix = next(
        (prefix for prefix in _PREFIXES if any(name.startswith(prefix) for name in tensors)), ""
    )
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    bands, size = len(config.spec.bands), config.image_size
    return build_encoder(config.encoder, bands, merged_weights(weights), str(path), size), config


def read_tensors(path: Path) -> dict[Any, Any]:
    """Read tensors and plain values that ``torch.save`` wrote, without unpickling code.

    Args:
        path: The file.

    Returns:
        The contents, on the CPU; an empty dictionary if they are no dictionary.

    Raises:
        InputError: If the file is missing, truncated, or holds code or something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles of other tools
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes of any kind make torch raise errors of any kind
        # torch's message is not shown: it advises to load with code allowed.
        text = str(error)
        reason = "truncated or damaged"
        if isinstance(error, pickle.UnpicklingError):
            reason = "it holds code or other objects"
            if "weights_only" not in text or "Unsupported operand" in text:  # a saved web page
                reason = "it is no checkpoint"
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        raise InputError(
            f"{path}: expected a whole checkpoint of tensors and plain values ({reason}); "
            "no code in it was run"
        ) from None
    return checkpoint if isinstance(checkpoint, dict) else {}


def _describe(settings: _Settings, path: Path) -> EncoderConfig:
    """Describe an encoder by the settings of the task that trained it."""
    channels = settings.in_channels
    if (settings.mean is None) != (settings.std is None):
        raise InputError(
            f"{path}: hyper_parameters has only one of mean and std; expected both, or neither"
        )
    if settings.mean is None:
        note(
            f"{path}: has no mean and std in hyper_parameters: images are divided by 255 and not "
            "normalised, as torchgeo's trainers have it"
        )
    values = {
        "encoder": settings.model,
        "image_size": settings.size,
        "spec": {
            "bands": RGB if channels == len(RGB) and settings.rgb else band_names(channels),
            "units": "8-bit counts",
            "scale": 255,
            "resolution": None,
            "mean": settings.mean or (0.0,) * channels,
            "std": settings.std or (1.0,) * channels,
        },
        "dataset": f"the data set of {path.name}",
        "epochs": None,
        "pool": settings.pool,
    }
    return validated(EncoderConfig, values, str(path))
