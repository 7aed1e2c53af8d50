"""Every operation against PIL, which the paper's authors used, on 8-bit images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pil_pipeline import operate as pil_operate

from rs_otl.augment import SimpleViews, StrongDraw, StrongViews
from rs_otl.augment.geometry import random_crops, resample
from rs_otl.augment.operations import OPERATIONS, grey_weights, operate

SIDE = 48
NAMES = list(OPERATIONS)
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
RGB_WEIGHTS = grey_weights(3, rgb=True)


def pil_strong(image, draw, i, size):
    """The i-th strong view of a draw, before normalising, through PIL alone."""
    (width, _), (_, height) = draw.crops[i, :, :2].tolist()
    across, down = draw.crops[i, :, 2].tolist()
    side = image.width
    box = [
        side * (1 + centre + way * extent) / 2
        for way in (-1, 1)
        for centre, extent in ((across, abs(width)), (down, height))
    ]
    box = [min(max(edge, 0.0), float(side)) for edge in box]
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    if width < 0:
        image = ImageOps.mirror(image)
    for kind, value in zip(draw.kinds[i].tolist(), draw.values[i].tolist(), strict=True):
        image = pil_operate(NAMES[kind], image, value)
    return image


def scenes(n=12, side=SIDE):
    """8-bit images of many kinds: noise, ramps, blobs, few levels, a flat band, all flat."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:side, :side]
    out = []
    for i in range(n):
        wave = np.sin(down / rng.uniform(2, 9)) + np.cos(across / rng.uniform(2, 9))
        bands = np.stack([wave * rng.uniform(10, 60) + rng.uniform(30, 220) for _ in range(3)])
        bands += rng.normal(0, 8 if i % 3 else 0, bands.shape)
        if i % 6 == 1:
            bands = rng.uniform(0, 255, bands.shape)
        if i % 6 == 2:
            bands = bands // 64 * 64
        if i % 6 == 3:
            bands[1] = 77
        out.append(np.clip(bands, 0, 255).astype(np.uint8))
        if i % 6 == 4:
            out[-1][:] = 200
    return np.stack(out)


def as_pil(scene):
    return Image.fromarray(np.ascontiguousarray(scene.transpose(1, 2, 0)))


def levels(tensor):
    return tensor.numpy() * 255


def values_of(name, n):
    low, high = OPERATIONS[name]
    return torch.linspace(low, high * (1 - 1e-6), n)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in GEOMETRIC])
def test_tone_is_pils_within_a_level(name):
    raw, values = scenes(), values_of(name, 12)
    ours = levels(operate(name, torch.from_numpy(raw) / 255, values, RGB_WEIGHTS))
    for scene, value, our in zip(raw, values.tolist(), ours, strict=True):
        theirs = np.asarray(pil_operate(name, as_pil(scene), value)).transpose(2, 0, 1)
        # PIL cuts to whole levels: a blend of a rounded mean, cut, lies up to 1.5 levels off.
        assert np.abs(our - theirs).max() <= 1.5


@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometry_is_pils(name):
    raw, values = scenes(), values_of(name, 12)
    ours = levels(operate(name, torch.from_numpy(raw) / 255, values, RGB_WEIGHTS))
    for scene, value, our in zip(raw, values.tolist(), ours, strict=True):
        theirs = np.asarray(pil_operate(name, as_pil(scene), value)).transpose(2, 0, 1)
        off = (np.abs(our - theirs) > 0.01).any(axis=0)
        # Both take the nearest pixel, black outside: only points midway between two pixels,
        # where rounding decides, may differ.
        assert off.mean() <= 0.01, f"{name} {value}"


def test_geometry_shows_the_nearest_pixel_of_the_real_coordinates():
    """PIL's own fixed-point coordinates put aside: a blob's centre goes where it should."""
    blob = torch.zeros(1, 1, 101, 101)
    blob[..., 20:23, 70:73] = 1.0

    def centre(name, value):
        seen = operate(name, blob, torch.tensor([value]), torch.ones(1))[0, 0].double()
        place = torch.arange(101.0, dtype=torch.float64)
        return [float(seen.sum(1) @ place / seen.sum()), float(seen.sum(0) @ place / seen.sum())]

    assert centre("translate_x", 0.1) == pytest.approx([21, 61], abs=0.5)
    assert centre("translate_y", 0.1) == pytest.approx([11, 71], abs=0.5)
    assert centre("shear_x", 0.1) == pytest.approx([21, 71 - 2.1], abs=0.5)
    assert centre("shear_y", 0.1) == pytest.approx([21 - 7.1, 71], abs=0.5)
    assert centre("rotate", 90.0) == pytest.approx([29, 21], abs=0.5)


@pytest.mark.parametrize(
    "name", ["autocontrast", "equalize", "solarize", "posterize", "brightness", "sharpness"]
)
def test_bands_are_changed_one_by_one(name):
    raw = scenes().reshape(6, 6, SIDE, SIDE)
    values = values_of(name, 6)
    ours = levels(operate(name, torch.from_numpy(raw) / 255, values, grey_weights(6, rgb=False)))
    for scene, value, our in zip(raw, values.tolist(), ours, strict=True):
        for band, one in zip(scene, our, strict=True):
            theirs = np.asarray(pil_operate(name, Image.fromarray(band), value))
            assert np.abs(one - theirs).max() <= 1.5


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_grey_of_other_bands_is_their_mean(bands):
    images = torch.rand(4, bands, 8, 8, generator=torch.Generator().manual_seed(0))
    weights, factor = grey_weights(bands, rgb=False), torch.tensor([0.05, 0.4, 0.95, 1.0])
    share = factor[:, None, None, None]
    grey = images.mean(1, keepdim=True)
    torch.testing.assert_close(
        operate("color", images, factor, weights), share * images + (1 - share) * grey
    )
    flat = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(
        operate("contrast", images, factor, weights), share * images + (1 - share) * flat
    )


@pytest.mark.parametrize("name", NAMES)
def test_real_images_too(name, real_data):
    files = sorted((real_data / "HMHR").rglob("*01.jpg"))
    pictures = [Image.open(file).convert("RGB").resize((SIDE, SIDE)) for file in files]
    raw = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])
    values = values_of(name, len(raw))
    ours = levels(operate(name, torch.from_numpy(raw) / 255, values, RGB_WEIGHTS))
    for picture, value, our in zip(pictures, values.tolist(), ours, strict=True):
        theirs = np.asarray(pil_operate(name, picture, value)).transpose(2, 0, 1)
        assert (np.abs(our - theirs) > 1.5).mean() <= (0.01 if name in GEOMETRIC else 0)


@pytest.mark.parametrize("name", ["color", "contrast", "brightness", "sharpness"])
def test_factors_above_one_are_pils_too(name):
    """The simple views go up to 1.4, where results are clipped."""
    raw, values = scenes(), torch.linspace(1, 1.4, 12)
    ours = levels(operate(name, torch.from_numpy(raw) / 255, values, RGB_WEIGHTS))
    for scene, value, our in zip(raw, values.tolist(), ours, strict=True):
        theirs = np.asarray(pil_operate(name, as_pil(scene), value)).transpose(2, 0, 1)
        assert np.abs(our - theirs).max() <= 1.5


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "posterize"])
def test_rounding_in_a_flat_band_is_not_taken_for_contrast(name):
    """Resampling leaves 127.99998 beside 128.00001 where PIL has 128 alone."""
    noise = 1e-7 * torch.randn(12, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    level = torch.linspace(16, 240, 12)[:, None, None, None].floor()
    seen = levels(operate(name, level / 255 + noise, values_of(name, 12), torch.ones(1)))
    assert np.ptp(seen, axis=(1, 2, 3)).max() <= 0.01


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_crops_are_pils_resize_of_a_box(seed):
    """Where the crop is enlarged: PIL averages over pixels when it shrinks, these views do not."""
    torch.manual_seed(seed)
    crops, raw = random_crops(3, orientations=1), scenes(3)
    ours = levels(resample(torch.from_numpy(raw) / 255, crops, SIDE))
    for scene, crop, our in zip(raw, crops, ours, strict=True):
        extent, centre = crop[:, :2].diagonal(), crop[:, 2]
        box = ((1 + torch.cat([centre - extent, centre + extent])) / 2).clamp(0, 1) * SIDE
        theirs = as_pil(scene).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box.tolist())
        assert np.abs(our - np.asarray(theirs).transpose(2, 0, 1)).max() <= 1.5


def test_a_whole_simple_view_is_pils():
    """The same draw through PIL; three blends, each cut to whole levels there: three levels."""
    torch.manual_seed(2)
    raw = scenes(12)
    views = SimpleViews(SIDE, [0.0] * 3, [1.0] * 3, rgb=True)
    draw = views.sample(12)
    whole = torch.eye(2, 3).expand(12, -1, -1)
    ours = levels(views(torch.from_numpy(raw) / 255, draw._replace(crops=whole)))
    for scene, factors, grey, our in zip(raw, draw.factors, draw.grey, ours, strict=True):
        image = as_pil(scene)
        for name, factor in zip(("brightness", "contrast", "color"), factors, strict=True):
            image = pil_operate(name, image, factor.item())
        image = image.convert("L").convert("RGB") if grey else image
        assert np.abs(our - np.asarray(image).transpose(2, 0, 1)).max() <= 3


def test_a_whole_strong_view_is_pils():
    """The same draw through PIL. Ten steps amplify what rounding to 8 bits in each of them
    changes, above all where equalize, solarize or posterize put two neighbouring levels far
    apart: so the typical pixel is held to two levels, not each."""
    torch.manual_seed(1)
    raw = np.concatenate([scenes(12, 64)] * 4)
    views = StrongViews(64, [0.0] * 3, [1.0] * 3, rgb=True)
    draw = views.sample(len(raw))
    ours = levels(views(torch.from_numpy(raw) / 255, draw._replace(holes=draw.holes * 0)))
    medians = []
    for i, (scene, our) in enumerate(zip(raw, ours, strict=True)):
        theirs = np.asarray(pil_strong(as_pil(scene), draw, i, 64)).transpose(2, 0, 1)
        medians.append(np.median(np.abs(our - theirs)))
    assert np.mean(np.array(medians) <= 2) >= 0.85


def steps_of(name, values):
    """One operation alone on whole images, as a draw."""
    n = len(values)
    return StrongDraw(
        crops=torch.eye(2, 3).repeat(n, 1, 1),
        kinds=torch.full((n, 1), NAMES.index(name)),
        values=values[:, None],
        holes=torch.zeros(n, 4, dtype=torch.int64),
    )


def eight_bit_levels(tensor):
    return levels(tensor).round().astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_eight_bit_views_are_pils_to_the_bit(name):
    for side in (SIDE, 31):
        raw, values = scenes(side=side), values_of(name, 12)
        views = StrongViews(side, [0.0] * 3, [1.0] * 3, rgb=True)
        ours = eight_bit_levels(views(torch.from_numpy(raw), steps_of(name, values)))
        for scene, value, our in zip(raw, values.tolist(), ours, strict=True):
            theirs = np.asarray(pil_operate(name, as_pil(scene), value)).transpose(2, 0, 1)
            np.testing.assert_array_equal(our, theirs)


def test_whole_eight_bit_views_are_pils_to_the_bit():
    """Ten operations in a row; crops apart, which are rounded in another place."""
    torch.manual_seed(1)
    raw = np.concatenate([scenes(12, 64)] * 8)
    views = StrongViews(64, [0.0] * 3, [1.0] * 3, rgb=True)
    whole = torch.eye(2, 3).repeat(len(raw), 1, 1)
    draw = views.sample(len(raw))
    draw = draw._replace(crops=whole, holes=draw.holes * 0)
    ours = eight_bit_levels(views(torch.from_numpy(raw), draw))
    for i, (scene, our) in enumerate(zip(raw, ours, strict=True)):
        theirs = np.asarray(pil_strong(as_pil(scene), draw, i, 64)).transpose(2, 0, 1)
        np.testing.assert_array_equal(our, theirs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_eight_bit_views_are_those_in_float32_within_a_level(name, bands):
    raw = torch.from_numpy(scenes(4 * bands).reshape(12, bands, SIDE, SIDE)[:, :bands])
    views = StrongViews(SIDE, [0.0] * bands, [1.0] * bands, rgb=False)
    draw = steps_of(name, values_of(name, len(raw)))
    off = np.abs(levels(views(raw, draw)) - levels(views(raw.float() / 255, draw)))
    # As above: 1.5 of a rounded mean, cut; and points midway between two pixels.
    assert (off > 1.5).mean() <= (0.01 if name in GEOMETRIC else 0)


def test_eight_bit_crops_are_those_in_float32_rounded():
    torch.manual_seed(0)
    raw = torch.from_numpy(scenes(24))
    views = StrongViews(40, [0.0] * 3, [1.0] * 3, rgb=True)
    draw = views.sample(24)
    draw = draw._replace(kinds=draw.kinds * 0, holes=draw.holes * 0)
    off = np.abs(levels(views(raw, draw)) - levels(views(raw.float() / 255, draw)))
    assert off.max() <= 0.51
