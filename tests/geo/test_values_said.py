"""Units, bands and scales that a file or an option says."""

import numpy as np
import pytest
import rasterio
from geo_scenes import draw, write

from rs_otl.datasets.scene import Scene
from rs_otl.spec import UNITS, EncoderConfig, ImageSpec, Quantity, Values

S2 = ("B02", "B03", "B04", "B08")


def trained(quantity=Quantity.TOA, bands=S2, units=None, scale=10_000, offset=0.0):
    spec = ImageSpec(
        bands=bands,
        units=units or UNITS[quantity],
        scale=scale,
        offset=offset,
        quantity=quantity,
        resolution=None,
        mean=(0.2,) * len(bands),
        std=(0.1,) * len(bands),
    )
    return EncoderConfig(encoder="resnet18", image_size=32, spec=spec, dataset="made", epochs=1)


TOA = trained()
SURFACE = trained(Quantity.SURFACE)
PICTURES = trained(Quantity.COUNTS, ("red", "green", "blue"), "8-bit counts", 255)
COUNTS = trained(Quantity.COUNTS, S2, "16-bit counts", 3000)
FLOATS = trained(Quantity.COUNTS, S2, "floating-point values", 0.5)
RADAR = trained(Quantity.DECIBELS, ("VV", "VH"), scale=40, offset=-35)
GLOW = trained(Quantity.RADIANCE, scale=300)


def scene(folder, dtype="uint16", low=100, high=5000, names=S2, bands=None, scales=None):
    count = bands or len(names)
    pixels = (low + draw(64, 64, bands=count) / 255 * (high - low)).astype(dtype)
    path = write(folder / "s.tif", pixels, names=names)
    if scales:
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (scales[0],) * count, (scales[1],) * count
    return path


def take(path, config, values=None, chosen=None):
    """Do what every command does with a scene: bands, then values."""
    with Scene(path, values=values) as opened:
        positions = opened.match_bands(config, "enc", chosen)
        opened.refuse_other_values(config, "enc", positions)
        raw, _ = opened.read(0, 0, 64, 64, positions)
        return raw, opened


MENDED = {
    "plain counts": (TOA, {}, {}, 1, 0),
    "counts of 2022 and later": (TOA, {"low": 1100}, {"offset": -1000}, 1, -1000),
    "the file's own factors": (TOA, {"low": 1000, "scales": (1e-4, -0.1)}, {}, 1, -1000),
    "Landsat's factors": (SURFACE, {"low": 8000, "high": 30000}, {"scale": 2.75e-5, "offset": -0.2},
                          0.275, -2000),
    "fractions": (TOA, {"dtype": "float32", "low": 0, "high": 1}, {"quantity": "toa"}, 10_000, 0),
    "thousands as floats": (TOA, {"dtype": "float32"}, {"quantity": "toa", "scale": 1e-4}, 1, 0),
    "surface taken as top of atmosphere": (TOA, {}, {"quantity": "toa"}, 1, 0),
    "stored values": (COUNTS, {"scales": (1e-4, -0.1)}, {"quantity": "counts"}, 1, 0),
    "a file's factors, as before": (FLOATS, {"scales": (1e-4, 0.0)}, {}, 1e-4, 0),
    "16 bits made a picture": (
        PICTURES, {"names": ("red", "green", "blue")}, {"quantity": "counts", "scale": 0.05}, 0.05,
        0,
    ),
    "backscatter in dB": (
        RADAR, {"names": ("VV", "VH"), "dtype": "float32", "low": -25, "high": -5}, {}, 1, 0,
    ),
    "hundredths of dB": (
        RADAR, {"names": ("VV", "VH"), "dtype": "int16", "low": -2500, "high": -500},
        {"quantity": "db", "scale": 0.01}, 0.01, 0,
    ),
    "radiance": (GLOW, {}, {"quantity": "radiance", "scale": 0.01}, 0.01, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", MENDED)
def test_options_and_files_say_what_values_stand_for(case, tmp_path):
    config, drawn, values, factor, shift = MENDED[case]
    path = scene(tmp_path, **drawn)

    with rasterio.open(path) as file:
        stored = file.read().astype(float)
    raw, _ = take(path, config, Values(**values) if values else None)
    np.testing.assert_allclose(raw, stored * factor + shift, rtol=1e-4, atol=0.02 * factor)


def test_what_was_added_to_sentinel_2_is_said(tmp_path, capsys):
    take(scene(tmp_path, low=1100), TOA)
    (line,) = capsys.readouterr().err.splitlines()
    assert "--offset -1000 takes it off" in line


def test_names_may_be_given_to_bands_that_have_none(tmp_path):
    path = scene(tmp_path, names=None, bands=4)
    raw, opened = take(path, trained(bands=("B08", "B04", "B03", "B02")), chosen=list(S2))
    with Scene(path) as plain:
        np.testing.assert_array_equal(raw, plain.read(0, 0, 64, 64)[0][::-1])
    assert opened.bands == ("b02", "b03", "b04", "b08")
