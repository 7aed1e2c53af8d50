"""Loading an encoder by any name that a user may give it."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from rs_otl.errors import InputError, note
from rs_otl.files import RUNS
from rs_otl.models.architecture import (
    build_encoder,
    create_encoder,
    set_image_size,
    set_pool,
    to_channels_last,
)
from rs_otl.models.checkpoint import read_checkpoint
from rs_otl.models.encoder import Encoder, resolve_device, resolve_precision
from rs_otl.models.pretrained import is_weights_name, load_weights
from rs_otl.recipe import read_recipe
from rs_otl.spec import EncoderConfig, validated

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def load_encoder(
    source: "str | Path | Encoder",
    *,
    bands: Sequence[str] | None = None,
    units: str | None = None,
    image_size: int | None = None,
    pool: str | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> Encoder:
    """Load an encoder by any name.

    Args:
        source: A run, an encoder directory, a checkpoint file, a data set that was pretrained on
            (its latest finished run without labels below ``runs/``; stderr says which),
            ``timm/NAME``, the name of torchgeo weights such as
            ``ResNet18_Weights.SENTINEL2_RGB_MOCO``, or an :class:`Encoder`, which is returned as
            it is: with its own device, precision and mode.
        bands: Bands of the images to use it on, in the order of the channels; checked against the
            encoder's.
        units: Units of these images, checked against the encoder's.
        image_size: Side of the images that it sees, in pixels; by default its own. The position
            embeddings of vision transformers are resampled to any multiple of their patch side.
        pool: What a vision transformer's features are made of: ``"cls"``, its class token, or
            ``"mean"``, the mean of its patches; by default its own rule.
        device: The device to compute on; ``"auto"`` is the GPU if there is one.
        precision: ``"float32"``, ``"bf16"``, or ``"auto"``: bf16 if the hardware computes in it.

    Returns:
        The encoder, in evaluation mode if it was loaded.

    Raises:
        InputError: If there is no such encoder, it cannot be read, its weights do not fill every
            tensor of its architecture, its bands, units or size are different, or it does not
            take the pooling.
        WeightsUnavailableError: If pretrained weights are neither on this disk nor reachable.
    """
    if isinstance(source, Encoder):
        encoder = source
        if image_size not in (None, encoder.config.image_size):
            raise InputError(
                f"{encoder.source} sees images of {encoder.config.image_size} pixels, not "
                f"{image_size}: load it with image_size={image_size}"
            )
        if pool not in (None, encoder.config.pool):
            raise InputError(f"{encoder.source}: load it with pool={pool}")
    else:
        path = None if is_weights_name(source) else _find(str(source))
        if path is None:
            module, config = load_weights(str(source))
        elif path.is_file():
            module, config = read_checkpoint(path)
        else:
            module, config = _read_directory(path)
        asked = {"image_size": image_size, "pool": pool}
        if given := {key: value for key, value in asked.items() if value is not None}:
            config = validated(EncoderConfig, config.model_dump() | given, str(source))
        set_image_size(module, config.image_size)
        if config.pool is not None:
            set_pool(module, config.pool)
        precision = resolve_precision(precision, device)
        encoder = Encoder(module, config, str(source), path, precision).eval()
        to_channels_last(encoder.to(resolve_device(device)))
    spec = encoder.config.spec
    encoder.check(spec.bands if bands is None else bands, spec.units if units is None else units)
    return encoder


def untrained_encoder(config: EncoderConfig, seed: int) -> Encoder:
    """Make an encoder from its description, with random weights, to compare others with.

    Args:
        config: Architecture, bands, size and pooling.
        seed: Seed of the weights.
    """
    bands = len(config.spec.bands)
    module = create_encoder(config.encoder, bands, seed, config.image_size, config.pool)
    return Encoder(module, config, "untrained").eval()


def read_config(directory: Path) -> EncoderConfig:
    """Read the description of an encoder from its directory.

    Args:
        directory: A directory that ``rs_otl.export.export_encoder`` wrote.

    Returns:
        Architecture, image size and image specification.

    Raises:
        InputError: If the file is missing or is not such a description.
    """
    path = directory / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{directory}: expected an encoder directory with a {CONFIG}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise InputError(f"{path}: expected JSON ({reason}); export the encoder again") from None
    if not isinstance(values, dict) or "rs_otl" not in values:
        raise InputError(
            f"{path}: expected the description of an rs-otl encoder; export it again, or load "
            "weights of timm with timm itself"
        )
    return validated(EncoderConfig, values["rs_otl"], str(path))


def _read_directory(directory: Path) -> tuple[nn.Module, EncoderConfig]:
    config = read_config(directory)
    path = directory / WEIGHTS
    try:
        weights = load_file(path)
    # safetensors raises these for a file of another kind.
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected safetensors weights ({reason:.200})") from None
    bands, size = len(config.spec.bands), config.image_size
    return build_encoder(config.encoder, bands, weights, str(path), size), config


def _find(source: str) -> Path:
    """Find the encoder directory or checkpoint file that a name stands for."""
    path = Path(source)
    if path.is_file():
        return path.parent if path.name == WEIGHTS else path
    directories = (path, path / "encoder")
    for directory in directories:
        if (directory / CONFIG).is_file() or (directory / WEIGHTS).is_file():
            return directory
    runs = finished_runs(path.resolve().name if "/" in source else source)
    if runs:
        latest = max(runs, key=lambda run: (run / "encoder").stat().st_mtime)
        note(f"{source}: taking its latest run, {latest}")
        return latest / "encoder"
    raise InputError(
        f"encoder {source!r}: nothing at {directories[0]} or {directories[1]}, and no finished run "
        f"on a data set of that name below {RUNS}/; expected a run, an encoder directory, a "
        "checkpoint file, a data set pretrained on before (`rs-otl pretrain NAME`), timm/NAME or "
        "the name of torchgeo weights"
    )


def finished_runs(dataset: str) -> list[Path]:
    """List the runs below ``runs/`` that trained an encoder on a data set, without its labels.

    A run whose recipe cannot be read is skipped and named on stderr.
    """
    runs = []
    for path in sorted(RUNS.glob("*/*/recipe.yaml")):
        try:
            recipe = read_recipe(path)
        except InputError as error:
            note(f"skipped a run: {error}")
            continue
        same = Path(str(recipe.get("dataset"))).name == dataset
        if same and not recipe.get("supervised") and (path.parent / "encoder").is_dir():
            runs.append(path.parent)
    return runs
