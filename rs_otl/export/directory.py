"""An encoder as a directory that timm itself can load."""

import copy
import os
import shutil
from pathlib import Path

import torch
from timm.models import save_for_hf
from torch import nn

from rs_otl.errors import InputError
from rs_otl.spec import EncoderConfig, load_size


def export_encoder(encoder: nn.Module, config: EncoderConfig, directory: Path) -> None:
    """Write an encoder in timm's own form: ``config.json`` and ``model.safetensors``.

    ``timm.create_model("local-dir:DIRECTORY", pretrained=True)`` loads it, with other
    ``in_chans`` and ``num_classes`` too. The directory appears whole or not at all.

    Args:
        encoder: A timm model without classifier.
        config: What travels with it.
        directory: Where to write; must not exist yet, or be empty.

    Raises:
        InputError: If the directory holds something already or cannot be made.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory} exists already: expected a new directory; choose another")
    # Training may have left it on a GPU, in a layout that safetensors does not store.
    encoder = copy.deepcopy(encoder).cpu().to(memory_format=torch.contiguous_format)
    aside = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        save_for_hf(
            encoder,
            str(aside),
            # timm would name its own ImageNet weights as the origin of these.
            model_config={
                "rs_otl": config.model_dump(mode="json"),
                "pretrained_cfg": {
                    "tag": "rs_otl",
                    "license": None,
                    "origin_url": None,
                    "paper_ids": "doi:10.3390/rs14143361",
                },
            },
            safe_serialization=True,
            data_config={
                "input_size": (len(config.spec.bands), config.image_size, config.image_size),
                "mean": config.spec.mean,
                "std": config.spec.std,
                "interpolation": "bilinear",
                "crop_pct": config.image_size / load_size(config.image_size),
                "crop_mode": "squash",
            },
        )
        os.replace(aside, directory)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def loading_snippet(directory: Path) -> str:
    """Return the lines of Python that load the encoder at ``directory`` with timm and rs-otl."""
    return (
        "import timm\n"
        f'encoder = timm.create_model("local-dir:{directory}", pretrained=True)\n'
        "\n"
        "import rs_otl  # with the view that it expects of an image\n"
        f'encoder, view = rs_otl.load_encoder("{directory}")\n'
    )
