"""The STAC item, held against STAC's own schema and what the extension asks for."""

import json
import os
from pathlib import Path

import pystac
import pytest
from pystac.extensions.mlm import AssetGeneralMLMExtension, MLMExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator


@pytest.fixture(scope="module")
def item(exported):
    return pystac.Item.from_file(exported[2] / "item.json")


def test_it_is_valid_stac(item):
    validator = JsonSchemaSTACValidator()
    checked = validator.validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")
    assert checked.endswith("item.json")


def test_it_is_valid_by_the_schemas_of_the_extension(item, lite):
    """No package has them: RS_OTL_STAC_SCHEMAS names a folder, its files as their addresses end.

    The extension's refers to those of three others, for example
    ``FOLDER/stac-extensions.github.io/mlm/v1.4.0/schema.json``.
    """
    folder = os.environ.get("RS_OTL_STAC_SCHEMAS")
    if folder is None:
        pytest.skip("RS_OTL_STAC_SCHEMAS names no folder of schemas")
    validator = JsonSchemaSTACValidator()
    for path in Path(folder).rglob("*.json"):
        address = f"https://{path.relative_to(folder).as_posix()}"
        validator.schema_cache[address] = json.loads(path.read_text())
    for one in (item, pystac.Item.from_file(lite[2] / "item.json")):
        one.validate(validator)


def test_it_says_what_the_extension_asks_for(item, exported):
    encoder, config, _ = exported
    model = MLMExtension.ext(item)  # its properties raise where a required one is missing
    assert (model.mlm_name, model.architecture) == ("resnet18-aid", "resnet18")
    assert model.total_parameters == sum(weight.numel() for weight in encoder.parameters())
    (given,), (result,) = model.input, model.output
    assert given.bands == list(config.spec.bands)
    assert given.input.shape == [-1, 4, 64, 64]
    assert result.result.shape == [-1, 512]
    # One scaling per band, in raw values; the extension has a list here.
    scalings = given.properties["value_scaling"]
    assert [scaling["type"] for scaling in scalings] == ["z-score"] * 4
    assert scalings[0]["mean"] == pytest.approx(0.4 * 255)
    assert scalings[0]["stddev"] == pytest.approx(0.2 * 255)
    assert model.hyperparameters.to_dict()["lr"] == 0.03


def test_it_says_where_the_encoder_comes_from(item):
    bands = item.properties["bands"]
    assert [band["name"] for band in bands] == ["red", "green", "blue", "nir"]
    assert {band["unit"] for band in bands} == {"8-bit counts"}
    # The normalisation may be CIFAR-10's or ImageNet's: it is no statistic of the bands.
    assert not any("statistics" in band for band in bands)
    assert not any("statistics" in str(asset.extra_fields) for asset in item.assets.values())
    assert item.properties["rs_otl:resolution"] == "0.5-8"
    assert item.properties["rs_otl:training_data"]["title"] == "AID"
    assert "without labels" in item.properties["description"]
    assert "licence of the weights is not stated" in item.properties["description"]
    assert item.properties["license"] == "other"


def test_every_asset_is_a_file_beside_it(item, exported, lite):
    directory = exported[2]
    assert set(item.assets) == {path.name for path in directory.iterdir()} - {"item.json"}
    models = {name for name, asset in item.assets.items() if "mlm:model" in asset.roles}
    assert models == {"model.safetensors", "encoder.pth", "model.onnx"}
    for name in models:
        assert AssetGeneralMLMExtension.ext(item.assets[name]).artifact_type
    assert "model.onnx" not in pystac.Item.from_file(lite[2] / "item.json").assets
