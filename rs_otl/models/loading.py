"""Loading a trained encoder from its directory."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from rs_otl.errors import InputError
from rs_otl.models.encoder import create_encoder
from rs_otl.models.view import TestView
from rs_otl.spec import EncoderConfig

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def read_config(directory: Path) -> EncoderConfig:
    """Read what an encoder directory says of its encoder.

    Args:
        directory: A directory that ``rs_otl.export.export_encoder`` wrote.

    Returns:
        Architecture, view size and image specification.

    Raises:
        InputError: If the file is missing or is not such a description.
    """
    path = directory / CONFIG
    try:
        return EncoderConfig.model_validate(json.loads(path.read_text())["rs_otl"])
    except FileNotFoundError:
        raise InputError(f"{directory}: expected an encoder directory with a {CONFIG}") from None
    except (KeyError, TypeError, ValueError) as error:  # not JSON, or not ours
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: expected the description of an rs-otl encoder ({reason}); export it again"
        ) from None


def load_encoder(
    source: str | Path,
    bands: Sequence[str] | None = None,
    units: str | None = None,
) -> tuple[nn.Module, TestView]:
    """Load an encoder and the view that it expects of an image.

    Args:
        source: An encoder directory, or a run's directory, whose ``encoder/`` is taken.
        bands: Bands of the imagery it is meant for, in the order of the channels; checked
            against the encoder's.
        units: Units of that imagery, checked likewise.

    Returns:
        The encoder in evaluation mode, from ``(B, C, S, S)`` to ``(B, D)``, and the view
        that turns float32 images in [0, 1] into what it expects. The view's ``size`` is S.

    Raises:
        InputError: If there is no readable encoder, its weights do not fill every tensor of
            its architecture, or its bands or units are others.
    """
    directory = Path(source)
    if (directory / "encoder").is_dir():
        directory = directory / "encoder"
    config = read_config(directory)
    if bands is not None and tuple(bands) != config.spec.bands:
        raise InputError(
            f"{directory} was trained on the bands {', '.join(config.spec.bands)}, "
            f"the imagery has {', '.join(bands)}: expected the same in the same order"
        )
    if units is not None and units != config.spec.units:
        raise InputError(
            f"{directory} was trained on {config.spec.units}, the imagery is in {units}: "
            "expected the same units"
        )
    encoder = create_encoder(config.encoder, len(config.spec.bands))
    path = directory / WEIGHTS
    try:
        weights = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise InputError(f"{path}: expected safetensors weights ({error})") from None
    try:
        encoder.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise InputError(
            f"{path}: expected the weights of {config.encoder}, every tensor of it "
            f"({' '.join(str(error).split())[:200]})"
        ) from None
    return encoder.eval(), TestView(config.image_size, config.spec.mean, config.spec.std)
