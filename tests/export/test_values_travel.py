"""Offset, quantity and bands go with the encoder; what was exported before still loads."""

import hashlib
import json

import pytest
import torch
from geo_scenes import make_encoder

from rs_otl.datasets import CATALOGUE
from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder, load_encoder, weights
from rs_otl.sensors import described
from rs_otl.spec import UNITS, EncoderConfig, ImageSpec, Quantity

RADAR = ImageSpec(
    bands=("vv", "vh"),
    units=UNITS[Quantity.DECIBELS],
    scale=40,
    offset=-35,
    quantity=Quantity.DECIBELS,
    known=described(("vv", "vh"), "sentinel-1"),
    resolution="10",
    mean=(0.5, 0.4),
    std=(0.1, 0.2),
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("radar") / "e"
    config = EncoderConfig(
        encoder="test_resnet", image_size=32, spec=RADAR, dataset="made", epochs=1
    )
    export_encoder(Encoder(create_encoder("test_resnet", 2), config), folder)
    return folder


def test_all_that_is_exported_says_the_same(exported):
    encoder = load_encoder(exported)
    assert encoder.config.spec == RADAR
    assert load_encoder(exported / "encoder.pth").config.spec == RADAR
    raw = -35 + 40 * torch.rand(2, 2, 50, 40)
    scaled = (raw + 35) / 40
    torch.testing.assert_close(encoder.scale(raw), scaled)
    expected = encoder.preprocess(scaled)
    torch.testing.assert_close(weights(exported).transforms(raw), expected, rtol=1e-4, atol=1e-4)
    (item,) = exported.glob("*item*.json")
    text = item.read_text()
    (given,) = json.loads(text)["properties"]["mlm:input"]
    assert given["value_scaling"][0]["mean"] == -35 + 0.5 * 40
    assert "clipped to -35..5" in given["description"]
    assert "minus -35, divided by 40" in (exported / "README.md").read_text()


def test_common_names_and_wavelengths_are_in_the_item(tmp_path):
    entry = CATALOGUE["eurosat-ms"]
    folder = make_encoder(tmp_path / "e", entry.bands, entry.units, entry.scale, "test_resnet")
    (item,) = folder.glob("*item*.json")
    assert '"eo:common_name": "rededge071"' in item.read_text()
    assert '"eo:center_wavelength": 0.6646' in item.read_text()


@pytest.mark.parametrize(
    ("units", "quantity"),
    [
        ("8-bit counts", Quantity.COUNTS),
        ("16-bit counts", Quantity.COUNTS),
        ("floating-point values", Quantity.COUNTS),
        (CATALOGUE["eurosat-ms"].units, Quantity.TOA),
    ],
)
def test_what_was_exported_before_loads_with_the_same_fingerprint(units, quantity, tmp_path):
    folder = make_encoder(tmp_path / "e", ("B04", "B08"), units, 10_000.0, "test_resnet")
    config = json.loads((folder / "config.json").read_text())
    for key in ("offset", "quantity", "known"):
        del config["rs_otl"]["spec"][key]
    (folder / "config.json").write_text(json.dumps(config))
    encoder = load_encoder(folder)
    assert encoder.config.spec.quantity is quantity
    before = {key: config["rs_otl"][key] for key in ("encoder", "image_size", "spec")}
    order = ("bands", "units", "scale", "resolution", "mean", "std")
    before["spec"] = {key: before["spec"][key] for key in order}
    digest = hashlib.blake2b(json.dumps(before, separators=(",", ":")).encode(), digest_size=8)
    for name, tensor in encoder.module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    assert encoder.fingerprint() == digest.hexdigest()
