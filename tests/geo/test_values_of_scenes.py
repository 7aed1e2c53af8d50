"""Bands and values of scenes, taken as an encoder's."""

import numpy as np
import pytest
import rasterio
import torch
from geo_scenes import draw, make_encoder, write

from rs_otl import geo
from rs_otl.datasets import CATALOGUE
from rs_otl.models import load_encoder

SENTINEL = CATALOGUE["eurosat-ms"]


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory):
    """An encoder of the catalogue's Sentinel-2 data set."""
    folder = tmp_path_factory.mktemp("sentinel") / "e"
    return make_encoder(
        folder, SENTINEL.bands, SENTINEL.units, SENTINEL.scale, quantity=SENTINEL.quantity
    )


@pytest.mark.parametrize(
    "names",
    [
        SENTINEL.bands,
        [*(f"B{number}" for number in range(1, 9)), "B8a", "B9", "B10", "B11", "B12"],
        ["B8A", *(f"B{number:02}" for number in range(12, 0, -1))],
        [f"{name}, central wavelength 1 nm" for name in SENTINEL.bands],
    ],
)
def test_a_stack_of_counts_is_embedded_as_reflectance(names, sentinel, tmp_path, capsys):
    pixels = draw(64, 80, bands=13, high=6000).astype(np.uint16)
    scene = write(tmp_path / "s2.tif", pixels, names=names)
    encoder = load_encoder(sentinel)
    (done,) = geo.embed(scene, encoder, tmp_path / "e.tif", tile=32, precision="float32")
    assert "top-of-atmosphere reflectance x 10,000" in capsys.readouterr().err
    assert done.nodata == 0
    keys = [name.partition(",")[0].upper() for name in names]
    order = [
        next(i for i, key in enumerate(keys) if key in (name, name[0] + name[1:].lstrip("0")))
        for name in SENTINEL.bands
    ]
    chip = torch.from_numpy(pixels[order, :32, :32].astype(np.float32)) / 10_000
    expected = encoder.embed(chip[None]).numpy()[0]
    with rasterio.open(tmp_path / "e.tif") as file:
        np.testing.assert_allclose(file.read()[:, 0, 0], expected, atol=1e-4)
