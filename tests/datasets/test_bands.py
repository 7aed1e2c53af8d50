import numpy as np
import pytest
from geo_scenes import draw, write
from hypothesis import given
from hypothesis import strategies as st

from rs_otl.datasets.bands import ImageInfo, alpha_is_imagery, name_bands, rgb_positions, top_value
from rs_otl.datasets.folder import describe_folder
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.spec import RGB, band_names


@pytest.mark.parametrize(
    ("descriptions", "colours", "names"),
    [
        (("B02", " b03"), (), ("b02", "b03")),
        ((None,) * 3, ("gray", "undefined", "undefined"), RGB),
        ((None,) * 3, ("blue", "green", "red"), ("blue", "green", "red")),
        (("x", "x"), (), ("band-1", "band-2")),
        (("x", None), (), ("band-1", "band-2")),
    ],
)
def test_names_of_bands(descriptions, colours, names):
    assert name_bands(descriptions, colours)[0] == names


@given(st.integers(1, 20))
def test_unnamed_bands_are_numbered(count):
    names, named = name_bands((None,) * count)
    assert names == (RGB if count == 3 else band_names(count))
    assert not named


def test_red_green_and_blue_are_found():
    assert rgb_positions(("nir", "blue", "green", "red")) == [3, 2, 1]
    assert rgb_positions(("B02", "B03", "B04")) == [2, 1, 0]
    assert rgb_positions(("a", "b", "c", "d")) == [0, 1, 2]
    assert rgb_positions(("a", "b")) is None


def test_alpha_by_its_name_and_by_its_values():
    mask = np.array([[0, 255] * 10] * 20, np.uint8)
    varied = draw(40, 40, bands=1)[0].astype(np.uint8)
    assert alpha_is_imagery("NIR", [mask])
    assert not alpha_is_imagery(" Mask", [varied])
    assert alpha_is_imagery(None, [varied, mask])
    assert not alpha_is_imagery(None, [mask])
    # One degree of transparency everywhere is no imagery either.
    assert not alpha_is_imagery(None, [np.full((20, 20), 200, np.uint8)])


def soft_masks():
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    return {
        "fades across": 255 * (columns + 1) / 2,
        "fades down to a rest": 40 + 200 * (rows + 1) / 2,
        "feathered edge": 255 * np.clip(6 * (0.8 - np.hypot(rows, columns)), 0, 1),
        "vignette": 255 * np.exp(-(rows**2) - columns**2),
        "steps": 60 * np.floor(2 * (columns + 1)),
    }


@pytest.mark.parametrize("kind", soft_masks())
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_mask_that_fades_is_alpha(kind, dtype):
    full = np.iinfo(dtype).max / 255
    assert not alpha_is_imagery(None, [(full * soft_masks()[kind]).astype(dtype)])


@pytest.mark.parametrize("noise", [3, 10, 40])
def test_near_infrared_is_no_mask_that_fades(noise):
    texture = np.random.default_rng(0).normal(0, noise, (64, 64))
    for soft in soft_masks().values():
        assert alpha_is_imagery(None, [np.clip(soft / 2 + 60 + texture, 1, 254).astype(np.uint8)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["near infrared", "mask"])
def test_a_chip_and_a_scene_agree_on_alpha_and_names(tmp_path, kind, seed):
    pixels = draw(64, 64, bands=4, seed=seed).astype(np.uint8)
    if kind == "mask":
        pixels[3] = 255 * (pixels[3] > 40)
    write(tmp_path / "a.tif", pixels)
    info, *_ = describe_folder(tmp_path, ["a.tif"])
    with Scene(tmp_path / "a.tif") as scene:
        assert scene.bands == info.bands
        assert scene.units == info.units
    assert len(info.bands) == (3 if kind == "mask" else 4)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_a_chip_and_a_scene_agree_on_units(tmp_path, dtype):
    names = ("B04", "B08")
    write(tmp_path / "a.tif", draw(64, 64, bands=2, high=900).astype(dtype), names=names)
    info, *_ = describe_folder(tmp_path, ["a.tif"])
    with Scene(tmp_path / "a.tif") as scene:
        assert (scene.units, scene.bands) == (info.units, info.bands)


def test_the_top_value_is_robust_and_never_of_negative_images():
    values = np.arange(10_000, dtype=np.float32)
    values[-3:] = 1e9
    assert top_value([values], "x") == pytest.approx(9990, abs=2)
    values[:50] = -5  # noise around dark surfaces
    assert top_value([values], "x") == pytest.approx(9990, abs=2)
    assert top_value([np.zeros(9)], "x") == 0
    with pytest.raises(InputError, match="backscatter: 100% of the values lie below 0, down to -9"):
        top_value([np.full(100, -9.0)], "backscatter")


def test_a_description_and_its_specification_agree():
    for info in (
        ImageInfo(RGB, mean=(0.1,) * 3, std=(0.2,) * 3),
        ImageInfo(("a",), "16-bit counts", True, 3000.0, "10", (0.1,), (0.2,)),
    ):
        assert ImageInfo.from_spec(info.spec()) == info
