import numpy as np
import pytest

from rs_otl.datasets._decode import quiet_reading
from rs_otl.datasets.folder import describe_folder, list_folder
from rs_otl.errors import InputError


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_sub_folders_are_classes_with_all_below_them(tmp_path):
    _touch(tmp_path, "water/2.jpg", "forest/deep/down/1.TIF", "forest/0.png", "forest/notes.txt")
    listing = list_folder(tmp_path)
    assert listing.paths == ["forest/0.png", "forest/deep/down/1.TIF", "water/2.jpg"]
    assert listing.classes == ("forest", "water")
    assert listing.labels.tolist() == [0, 0, 1]


def test_a_flat_pile_has_no_labels(tmp_path):
    _touch(tmp_path, "b.jpg", "a.jpg")
    listing = list_folder(tmp_path)
    assert listing.paths == ["a.jpg", "b.jpg"]
    assert listing.labels is None
    assert listing.classes is None


def test_one_sub_folder_is_no_class(tmp_path):
    _touch(tmp_path, "images/a.jpg", "images/b.jpg")
    assert list_folder(tmp_path).labels is None


def test_a_stray_image_beside_the_classes_is_left_out(tmp_path):
    _touch(tmp_path, "a/1.jpg", "b/1.jpg", "overview.png")
    listing = list_folder(tmp_path)
    assert listing.paths == ["a/1.jpg", "b/1.jpg"]
    assert listing.outside == ["overview.png"]


def test_a_pile_with_some_sub_folders_is_a_pile(tmp_path):
    _touch(tmp_path, "a/1.jpg", "b/1.jpg", "1.jpg", "2.jpg", "3.jpg")
    listing = list_folder(tmp_path)
    assert listing.labels is None
    assert len(listing.paths) == 5
    assert listing.outside == []


def test_hidden_files_are_passed_over(tmp_path):
    _touch(tmp_path, "a.jpg", "._a.jpg", ".cache/b.jpg", "__MACOSX/c.jpg")
    assert list_folder(tmp_path).paths == ["a.jpg"]


def test_errors_name_the_folder_and_what_is_expected(tmp_path):
    with pytest.raises(InputError, match=r"absent: no such folder, expected images \(\.jpg"):
        list_folder(tmp_path / "absent")
    with pytest.raises(InputError, match=f"{tmp_path}: no images, expected"):
        list_folder(tmp_path)


def _describe(folder):
    with quiet_reading():
        return describe_folder(folder, list_folder(folder).paths)


def _info(folder):
    return _describe(folder)[0]


def test_most_images_decide_the_bands(tmp_path, write_image):
    for number in range(3):
        write_image(tmp_path / f"{number}.tif", bands=5)
    write_image(tmp_path / "grey.png", bands=1)
    info = _info(tmp_path)
    assert info.bands == ("band-1", "band-2", "band-3", "band-4", "band-5")
    assert not info.is_16bit
    assert info.units == "8-bit counts"


def test_three_bands_are_red_green_blue(tmp_path, write_image):
    write_image(tmp_path / "a.png")
    assert _info(tmp_path).bands == ("red", "green", "blue")


def test_scale_of_16_bit_images_is_a_robust_maximum(tmp_path, write_image):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 3000, (2, 100, 100), np.uint16)
        pixels[0, 0, 0] = 65535
        write_image(tmp_path / f"{number}.tif", pixels=pixels)
    info = _info(tmp_path)
    assert info.is_16bit
    assert info.units == "16-bit counts"
    assert info.scale == pytest.approx(3000, rel=0.01)


def test_floating_point_images_are_kept_as_16_bits(tmp_path, write_image):
    write_image(tmp_path / "a.tif", dtype="float32", high=0.5)
    info = _info(tmp_path)
    assert (info.is_16bit, info.units) == (True, "floating-point values")
    assert info.scale == pytest.approx(0.5, rel=0.02)


def test_black_images_have_a_scale(tmp_path, write_image):
    write_image(tmp_path / "a.tif", pixels=np.zeros((1, 4, 4), np.uint16))
    assert _info(tmp_path).scale == 1


def test_nothing_readable_is_an_error(tmp_path):
    _touch(tmp_path, "a.jpg", "b.tif")
    with pytest.raises(InputError, match="none of its image files can be read"):
        _info(tmp_path)


def test_near_infrared_marked_as_alpha_is_a_band(tmp_path, write_image):
    # GDAL marks the fourth of four 8-bit bands as alpha unless told otherwise.
    write_image(tmp_path / "rgbn.tif", bands=4)
    info, keep_alpha, _ = _describe(tmp_path)
    assert keep_alpha
    assert info.bands == ("band-1", "band-2", "band-3", "band-4")


def test_a_mask_is_no_band(tmp_path, write_image):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32), np.uint8)
    pixels[3] = 255 * (np.indices((32, 32))[0] > 5)
    write_image(tmp_path / "rgba.tif", pixels=pixels)
    info, keep_alpha, _ = _describe(tmp_path)
    assert not keep_alpha
    assert info.bands == ("red", "green", "blue")
