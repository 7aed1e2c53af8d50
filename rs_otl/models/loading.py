"""Opening a trained encoder, wherever it comes from."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from rs_otl.errors import InputError
from rs_otl.models.checkpoint import open_checkpoint
from rs_otl.models.encoder import check_size, create_encoder, fill_encoder
from rs_otl.models.pretrained import is_foreign, open_foreign
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
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory}: expected an encoder directory with a {CONFIG}") from None
    except (KeyError, TypeError, ValueError) as error:  # not JSON, or not ours
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: expected the description of an rs-otl encoder ({reason}); export it again"
        ) from None


def open_encoder(
    source: str | Path, image_size: int | None = None
) -> tuple[nn.Module, EncoderConfig]:
    """Open an encoder and what must be known of it.

    Args:
        source: An encoder directory; a run's directory, whose ``encoder/`` is taken; a checkpoint
            file; ``timm/NAME``; or the name of torchgeo weights.
        image_size: Side of the views that it is to see, in pixels; by default its own.

    Returns:
        The encoder in evaluation mode, from ``(B, C, S, S)`` to ``(B, D)``, and its description.

    Raises:
        InputError: If there is no readable encoder, or its weights do not fill every tensor of
            its architecture, or it cannot take views of that size.
        WeightsUnavailableError: If weights of others are not on this disk and cannot be fetched.
    """
    if isinstance(source, str) and is_foreign(source):
        encoder, config = open_foreign(source)
    elif Path(source).is_file() and Path(source).name != WEIGHTS:
        encoder, config = open_checkpoint(Path(source))
    else:
        directory = Path(source).parent if Path(source).is_file() else Path(source)
        if (directory / "encoder").is_dir():
            directory = directory / "encoder"
        config = read_config(directory)
        encoder = create_encoder(config.encoder, len(config.spec.bands))
        path = directory / WEIGHTS
        try:
            weights = load_file(path)
        except (FileNotFoundError, SafetensorError) as error:
            raise InputError(f"{path}: expected safetensors weights ({error})") from None
        fill_encoder(encoder, weights, config.encoder, str(path))
    if image_size is not None:
        config = config.model_copy(update={"image_size": image_size})
    check_size(encoder, config.image_size)
    return encoder.eval(), config


def check_imagery(config: EncoderConfig, bands: Sequence[str], units: str, source: str) -> None:
    """Raise an :class:`InputError` if imagery is not what an encoder was trained on.

    Args:
        config: The encoder's.
        bands: Bands of the imagery, in the order of the channels.
        units: Units of the imagery.
        source: What the encoder is called in the error.
    """
    if tuple(bands) != config.spec.bands:
        raise InputError(
            f"{source} was trained on the bands {', '.join(config.spec.bands)}, "
            f"the imagery has {', '.join(bands)}: expected the same in the same order"
        )
    if units != config.spec.units:
        raise InputError(
            f"{source} was trained on {config.spec.units}, the imagery is in {units}: "
            "expected the same units"
        )


def load_encoder(
    source: str | Path,
    bands: Sequence[str] | None = None,
    units: str | None = None,
    image_size: int | None = None,
) -> tuple[nn.Module, TestView]:
    """Load an encoder and the view that it expects of an image; say on stderr what was filled.

    Args:
        source: An encoder directory, a run, a checkpoint file, ``timm/NAME`` or the name of
            torchgeo weights, as for :func:`open_encoder`.
        bands: Bands of the imagery it is meant for, in the order of the channels; checked
            against the encoder's.
        units: Units of that imagery, checked likewise.
        image_size: Side of the view in pixels; by default the encoder's own.

    Returns:
        The encoder in evaluation mode, from ``(B, C, S, S)`` to ``(B, D)``, and the view
        that turns float32 images in [0, 1] into what it expects. The view's ``size`` is S.

    Raises:
        InputError: If there is no readable encoder, its weights do not fill every tensor of
            its architecture, or its bands or units are others.
    """
    encoder, config = open_encoder(source, image_size)
    spec = config.spec
    check_imagery(
        config,
        spec.bands if bands is None else bands,
        spec.units if units is None else units,
        str(source),
    )
    filled = len(encoder.state_dict())  # opening fails otherwise
    print(f"{source}: filled {filled} of {filled} tensors of {config.encoder}", file=sys.stderr)
    return encoder, TestView(config.image_size, spec.mean, spec.std)
