"""An encoder as a directory that other tools load."""

import copy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import save_for_hf
from torch import nn

from rs_otl.errors import InputError, note
from rs_otl.export.card import CardScore, model_card
from rs_otl.export.loaders import CHECKPOINT, ONNX
from rs_otl.export.onnx_model import write_onnx
from rs_otl.export.segmentation import segmentation_backbone
from rs_otl.extras import install_command, missing_modules, require_extra
from rs_otl.files import atomic_folder, refuse_existing, write_checkpoint
from rs_otl.models import Encoder
from rs_otl.models.torchgeo_models import ARCHITECTURES
from rs_otl.spec import EncoderConfig, load_size


def export_encoder(
    encoder: Encoder,
    directory: str | Path,
    recipe: Mapping[str, Any] | None = None,
    scores: Sequence[CardScore] = (),
    onnx: bool = False,
) -> None:
    """Write an encoder for other tools; the directory appears complete or not at all.

    It contains::

        config.json, model.safetensors   in timm's format, for its ``local-dir:``
        encoder.pth                      for torchgeo, segmentation-models-pytorch, torchvision
        item.json                        a STAC item with the Machine Learning Model extension;
                                         left out, with a note, without the extra ``stac``
        README.md                        a model card in the format of Hugging Face
        model.onnx                       with ``onnx``

    Args:
        encoder: What :func:`rs_otl.load_encoder` returns.
        directory: Where to write; must not exist yet, or be empty.
        recipe: How it was trained, for the item and the card.
        scores: Its scores, for the card.
        onnx: Write ``model.onnx`` too, checked against the encoder.

    Raises:
        InputError: If the directory is not empty or cannot be made, or with ``onnx`` if the extra
            ``onnx`` is not installed or the architecture cannot be written as ONNX.
    """
    directory = Path(directory)
    refuse_existing(
        directory,
        "exists already: expected a new directory; choose another",
        may_be_empty=True,
    )
    if onnx:
        require_extra("onnx", "ONNX")
        ours = ARCHITECTURES.get(encoder.config.encoder)
        if ours is not None and not ours.traced:
            raise InputError(
                f"{encoder.source}: {encoder.config.encoder} cannot be written as ONNX, because "
                "its computation depends on the input values; export it without --onnx"
            )
    # The encoder may be on a GPU, in a layout that safetensors does not store.
    encoder = copy.deepcopy(encoder).cpu().eval()
    encoder.to(memory_format=torch.contiguous_format)
    module, config = encoder.module, encoder.config
    recipe = recipe or {}
    without_item = missing_modules("stac")
    with atomic_folder(directory) as temporary:
        _write_timm(module, config, temporary)
        write_checkpoint(_checkpoint(module, config), temporary / CHECKPOINT)
        # safetensors writes a file that only its owner can read, whatever the umask.
        shutil.copymode(temporary / CHECKPOINT, temporary / "model.safetensors")
        if onnx:
            write_onnx(encoder, temporary / ONNX)
        if not without_item:
            from rs_otl.export.item import model_item  # needs the extra

            item = model_item(encoder, recipe, sorted(path.name for path in temporary.iterdir()))
            item.save_object(include_self_link=False, dest_href=str(temporary / "item.json"))
        backbone = segmentation_backbone(config, module.state_dict())
        card = model_card(config, directory.name, recipe, scores, backbone, onnx)
        (temporary / "README.md").write_text(card, encoding="utf-8")
    if without_item:
        note(
            f"{directory}: no item.json, since {', '.join(without_item)} is not installed: run "
            f"{install_command('stac')} in the folder of rs-otl"
        )


def _write_timm(encoder: nn.Module, config: EncoderConfig, directory: Path) -> None:
    save_for_hf(
        encoder,
        str(directory),
        # By default timm names its ImageNet weights as the origin.
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
    ``state_dict_ema``, whose plain keys suit all other tools. The tensors are stored once.
    ``torch.load(..., weights_only=True)`` reads it.
    """
    weights = dict(encoder.state_dict())
    return {
        "hyper_parameters": {"model": config.encoder},
        "state_dict": {f"model.{name}": tensor for name, tensor in weights.items()},
        "state_dict_ema": weights,
        "rs_otl": config.model_dump(mode="json"),
    }
