"""The encoder as a STAC item with the Machine Learning Model extension."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import torch
from pystac.extensions.mlm import (
    AssetGeneralMLMExtension,
    Hyperparameters,
    InputStructure,
    MLMExtension,
    ModelInput,
    ModelOutput,
    ProcessingExpression,
    ResultStructure,
    TaskType,
    ValueScaling,
    ValueScalingType,
)
from pystac.extensions.raster import DataType

from rs_otl.datasets.catalogue import CATALOGUE, base_name
from rs_otl.export.facts import licence_note, training_note
from rs_otl.models import Encoder
from rs_otl.sensors import bands_of
from rs_otl.spec import EncoderConfig, load_size

# An encoder belongs to no place. The extension advises the whole world for such models; some
# catalogues refuse items without geometry.
_WORLD = [-180.0, -90.0, 180.0, 90.0]

# Title, media type, roles and artifact type of the files in an exported directory.
_ASSETS = {
    "model.safetensors": (
        "Weights and config.json, as timm loads them",
        "application/octet-stream; application=safetensors",
        ["mlm:model", "mlm:weights"],
        "safetensors.torch.save_file",
    ),
    "encoder.pth": (
        "Weights for torchgeo, segmentation-models-pytorch and torchvision",
        "application/octet-stream; application=pytorch",
        ["mlm:model", "mlm:checkpoint"],
        "torch.save",
    ),
    "model.onnx": (
        "ONNX model",
        "application/octet-stream; framework=onnx; profile=onnx",
        ["mlm:model"],
        "torch.onnx.export",
    ),
    "config.json": ("Architecture and normalisation", pystac.MediaType.JSON, ["metadata"], None),
}


def model_item(encoder: Encoder, recipe: Mapping[str, Any], files: Sequence[str]) -> pystac.Item:
    """Describe an encoder.

    The normalisation is the ``value_scaling`` of the model's input. The bands have no
    ``statistics``: these would describe the data, while the mean and std of an encoder may be
    CIFAR-10's (as in the paper) or ImageNet's (from pretrained weights), and its configuration
    does not say which.

    Args:
        encoder: The encoder.
        recipe: How it was trained; may be empty.
        files: Names of the files beside the item.

    Returns:
        A STAC 1.1 item whose assets are ``files`` and the model card.
    """
    config = encoder.config
    west, south, east, north = _WORLD
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        id=f"{config.encoder}-{Path(config.dataset).name}",
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=_WORLD,
        datetime=datetime.now(UTC),
        properties={
            "description": f"{training_note(config, recipe)} {licence_note(config)}",
            # Exporting weights grants no licence for them; "other" is STAC's word.
            "license": "other",
            # The extension's schema wants bands here; STAC's wants them at the assets too.
            "bands": _bands(config),
            "rs_otl:resolution": config.spec.resolution,
        },
    )
    if config.epochs != 0:
        item.properties["rs_otl:training_data"] = _training_data(config)
    for name in [name for name in _ASSETS if name in files]:
        title, media_type, roles, artifact = _ASSETS[name]
        asset = pystac.Asset(f"./{name}", title=title, media_type=media_type, roles=list(roles))
        item.add_asset(name, asset)
        if artifact:
            asset.extra_fields["bands"] = _bands(config)
            AssetGeneralMLMExtension.ext(asset, add_if_missing=True).apply(artifact_type=artifact)
    card = pystac.Asset("./README.md", "Model card", media_type="text/markdown", roles=["metadata"])
    item.add_asset("README.md", card)
    parameters = [parameter.numel() for parameter in encoder.parameters()]
    MLMExtension.ext(item, add_if_missing=True).apply(
        name=item.id,
        architecture=config.encoder,
        tasks=[TaskType.SIMILARITY_SEARCH],  # the one task that needs features alone
        framework="PyTorch",
        framework_version=torch.__version__,
        total_parameters=sum(parameters),
        memory_size=sum(
            tensor.numel() * tensor.element_size()
            for tensor in encoder.module.state_dict().values()
        ),
        pretrained=config.epochs != 0,
        pretrained_source=None if config.epochs == 0 else config.dataset,
        input=[_input(config)],
        output=[
            ModelOutput.create(
                name="features",
                tasks=[TaskType.SIMILARITY_SEARCH],
                result=ResultStructure.create(
                    shape=[-1, encoder.num_features],
                    dim_order=["batch", "features"],
                    data_type=DataType.FLOAT32,
                ),
            )
        ],
        hyperparameters=Hyperparameters.create(**recipe) if recipe else None,
    )
    return item


def _bands(config: EncoderConfig) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = []
    for band in bands_of(config.spec):
        said = {
            "name": band.name,
            "unit": config.spec.units,
            "eo:common_name": band.common_name,
            "eo:center_wavelength": band.wavelength,
        }
        described.append({key: value for key, value in said.items() if value is not None})
    return described


def _training_data(config: EncoderConfig) -> dict[str, Any]:
    entry = CATALOGUE.get(base_name(config.dataset))
    known = {"title": entry.title, "citation": entry.citation} if entry else {}
    return {"name": config.dataset} | known


def _input(config: EncoderConfig) -> ModelInput:
    spec, size = config.spec, config.image_size
    low, high = spec.bounds
    described = ModelInput.create(
        name="images",
        bands=list(spec.bands),
        input=InputStructure.create(
            shape=[-1, len(spec.bands), size, size],
            dim_order=["batch", "bands", "height", "width"],
            data_type=DataType.FLOAT32,
        ),
        description=f"Raw values ({spec.units}) clipped to {low:g}..{high:g}, resized to "
        f"{load_size(size)} pixels, centre cropped to {size} and normalised band by band",
        pre_processing_function=ProcessingExpression.create(
            "python", "rs_otl.models:Encoder.preprocess"
        ),
    )
    # pystac's property takes one scaling for all bands; the extension has one per band.
    described.properties["value_scaling"] = [
        ValueScaling.create(
            ValueScalingType.Z_SCORE, mean=low + mean * spec.scale, stddev=std * spec.scale
        ).to_dict()
        for mean, std in zip(spec.mean, spec.std, strict=True)
    ]
    return described
