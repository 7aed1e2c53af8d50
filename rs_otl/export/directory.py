"""An encoder as one directory that other tools load."""

import copy
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import save_for_hf
from torch import nn

from rs_otl.errors import InputError
from rs_otl.export.card import CardScore, model_card
from rs_otl.export.item import model_item
from rs_otl.export.onnx_model import require_onnx, write_onnx
from rs_otl.export.segmentation import segmentation_backbone
from rs_otl.files import WRITE_ERRORS, unwritten, write_checkpoint
from rs_otl.spec import EncoderConfig, load_size

CHECKPOINT = "encoder.pth"
ONNX = "model.onnx"


def export_encoder(
    encoder: nn.Module,
    config: EncoderConfig,
    directory: Path,
    recipe: Mapping[str, Any] | None = None,
    scores: Sequence[CardScore] = (),
    onnx: bool = False,
) -> None:
    """Write an encoder and what must be known of it; the directory appears whole or not at all.

    It holds::

        config.json, model.safetensors   timm's own form, for its ``local-dir:``
        encoder.pth                      for torchgeo, segmentation-models-pytorch, torchvision
        item.json                        a STAC item with the Machine Learning Model extension
        README.md                        a model card in the Hugging Face form
        model.onnx                       with ``onnx``

    Args:
        encoder: A timm model without classifier.
        config: What travels with it.
        directory: Where to write; must not exist yet, or be empty.
        recipe: How it was trained, for the item and the card.
        scores: What it scored, for the card.
        onnx: Write ``model.onnx`` too, checked against the encoder.

    Raises:
        InputError: If the directory holds something already or cannot be made, or ONNX is asked
            for and is not installed.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory} exists already: expected a new directory; choose another")
    if onnx:
        require_onnx()
    # Training may have left it on a GPU, in a layout that safetensors does not store.
    encoder = copy.deepcopy(encoder).cpu().to(memory_format=torch.contiguous_format).eval()
    recipe = recipe or {}
    aside = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _write_timm(encoder, config, aside)
        write_checkpoint(_checkpoint(encoder, config), aside / CHECKPOINT)
        if onnx:
            write_onnx(encoder, config, aside / ONNX)
        item = model_item(encoder, config, recipe, sorted(path.name for path in aside.iterdir()))
        item.save_object(include_self_link=False, dest_href=str(aside / "item.json"))
        backbone = segmentation_backbone(config, encoder.state_dict())
        card = model_card(config, directory.name, recipe, scores, backbone, onnx)
        (aside / "README.md").write_text(card, encoding="utf-8")
        os.replace(aside, directory)
    except WRITE_ERRORS as error:
        raise unwritten(directory, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_timm(encoder: nn.Module, config: EncoderConfig, directory: Path) -> None:
    save_for_hf(
        encoder,
        str(directory),
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


def _checkpoint(encoder: nn.Module, config: EncoderConfig) -> dict[str, Any]:
    """Return a checkpoint that several tools read, each by its own keys.

    torchgeo wants a Lightning checkpoint of a task with a ``model``; timm prefers
    ``state_dict_ema``, whose plain keys serve everyone else. The tensors are stored once.
    All of it is plain, so that ``torch.load(..., weights_only=True)`` reads it.
    """
    weights = dict(encoder.state_dict())
    return {
        "hyper_parameters": {"model": config.encoder},
        "state_dict": {f"model.{name}": tensor for name, tensor in weights.items()},
        "state_dict_ema": weights,
        "rs_otl": config.model_dump(mode="json"),
    }
