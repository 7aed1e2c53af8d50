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


@pytest.mark.parametrize(
    ("layout", "splits"),
    [
        ("{split}/{class}/1.jpg", ("train", "test")),
        ("{split}/{class}/1.jpg", ("Train", "Val", "Test")),
        ("{split}/{class}/1.jpg", ("train", "val", "extra")),
        ("top/{split}/{class}/1.jpg", ("training", "validation")),
        ("{split}/images/{class}/1.jpg", ("train", "test")),
        ("{split}/{class}/deep/1.jpg", ("train2017", "val2017")),
    ],
)
def test_splits_are_no_classes(tmp_path, layout, splits):
    for split in splits:
        for image_class in ("forest", "water"):
            _touch(tmp_path, layout.format(split=split, **{"class": image_class}))
    listing = list_folder(tmp_path)
    assert listing.classes == ("forest", "water")
    assert len(listing.paths) == 2 * len(splits)
    assert listing.labels.tolist() == [int("water" in path) for path in listing.paths]
    assert f"{', '.join(sorted(splits))} are splits, read together" in listing.note
    assert listing.note.startswith(f"{tmp_path}: ")
    assert "\n" not in listing.note


def test_splits_without_classes_are_a_pile(tmp_path):
    _touch(tmp_path, "train/1.jpg", "test/2.jpg", "val/3.jpg")
    listing = list_folder(tmp_path)
    assert listing.classes is None
    assert listing.note.endswith("test, train, val are splits, read together; no labels")


def test_splits_below_the_classes_belong_to_them(tmp_path):
    for name in (
        "forest/train/1.jpg",
        "forest/test/2.jpg",
        "water/train/1.jpg",
        "water/test/2.jpg",
    ):
        _touch(tmp_path, name)
    listing = list_folder(tmp_path)
    assert (listing.classes, listing.note) == (("forest", "water"), None)


@pytest.mark.parametrize("top", ["UCMerced_LandUse/Images", "archive", "a/b/c"])
def test_a_single_folder_is_looked_into(tmp_path, top):
    _touch(tmp_path, f"{top}/forest/1.jpg", f"{top}/water/1.jpg", f"{top}/stray.jpg")
    listing = list_folder(tmp_path)
    assert listing.classes == ("forest", "water")
    assert listing.outside == [f"{top}/stray.jpg"]
    assert listing.note == f"{tmp_path}: classes are the 2 folders of {top}"


def test_the_same_images_in_splits_beside_are_not_read(tmp_path):
    _touch(tmp_path, *(f"Images/{c}/{n}.tif" for c in ("forest", "water") for n in range(3)))
    _touch(tmp_path, "images_train_test_val/train/forest/0.png")
    _touch(tmp_path, "images_train_test_val/test/water/0.png")
    listing = list_folder(tmp_path)
    assert listing.classes == ("forest", "water")
    assert len(listing.paths) == 6
    assert len(listing.others) == 2
    assert "images_train_test_val not read, beside Images" in listing.note


@pytest.mark.parametrize(
    "names",
    [
        ("2019", "2020"),
        ("2019-07", "2019-08"),
        ("20190731", "20200801"),
        ("32TQM", "33UUP"),
        ("T32TQM", "T32TQN"),
        ("h18v04", "h19v04"),
        ("N48E011", "N48E012"),
        ("193026", "193027"),
        ("tile_1", "tile_2"),
        ("LC08_L2SP_193026_20210622_20210629_02_T1", "LC09_L2SP_193026_20220622_20220629_02_T1"),
        ("S2A_MSIL2A_20200101T101031_N0213_R022_T32TQM.SAFE", "S2B_MSIL2A_X.SAFE"),
    ],
)
def test_dates_tiles_and_products_are_no_classes(tmp_path, names):
    _touch(tmp_path, *(f"{name}/{number}.tif" for name in names for number in range(2)))
    listing = list_folder(tmp_path)
    assert listing.classes is None
    assert len(listing.paths) == 4
    assert listing.note.endswith("are dates or places, not classes; no labels")
    _touch(tmp_path, *(f"{name}/{c}/1.tif" for name in names for c in ("forest", "water") * 3))
    for path in tmp_path.glob("*/?.tif"):
        path.unlink()
    assert list_folder(tmp_path).classes == ("forest", "water")


@pytest.mark.parametrize(
    "names",
    [("0", "1"), ("10", "42"), ("A", "B"), ("class_1", "class_2"), ("111", "112"), ("s1", "s2")],
)
def test_other_short_names_and_numbers_are_classes(tmp_path, names):
    _touch(tmp_path, *(f"{name}/1.tif" for name in names))
    assert list_folder(tmp_path).classes == names


def test_one_level_too_high_says_what_was_taken(tmp_path):
    _touch(tmp_path, *(f"{top}/{c}/1.jpg" for top in ("AID", "UCM") for c in ("forest", "water")))
    listing = list_folder(tmp_path)
    assert listing.classes == ("AID", "UCM")
    assert listing.note.endswith("are AID, UCM; forest, water below belong to these classes")


def test_errors_name_the_folder_and_what_is_expected(tmp_path):
    with pytest.raises(InputError, match=r"absent: no such folder, expected images \(\.jpg"):
        list_folder(tmp_path / "absent")
    with pytest.raises(InputError, match=f"{tmp_path}: no images, expected"):
        list_folder(tmp_path)
    _touch(tmp_path, "AID.ZIP", "train-00000.parquet")
    with pytest.raises(InputError, match=r"but AID\.ZIP, train-00000\.parquet, to be unpacked"):
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


def test_images_of_other_bands_are_counted(tmp_path, write_image):
    for number in range(5):
        write_image(tmp_path / "ab"[number % 2] / f"{number}.tif", bands=13, dtype="uint16")
    for number in range(2):
        write_image(tmp_path / "a" / f"rgb{number}.png")
    _, _, remark = _describe(tmp_path)
    assert remark == f"{tmp_path}: 5 images of 13 bands are used, not 2 of 3"
    (tmp_path / "grey").mkdir()
    write_image(tmp_path / "grey" / "a.png")
    write_image(tmp_path / "grey" / "b.png", bands=1)
    assert _describe(tmp_path / "grey")[2] is None


@pytest.mark.parametrize(
    ("many", "few"),
    [
        (("uint16", 10_000), ("float32", 1)),
        (("int16", 3_000), ("float32", 0.4)),
        (("float32", 10_000), ("float64", 1)),
        (("float32", 1), ("uint16", 60_000)),
        (("float32", 1), ("float32", 100)),
    ],
)
def test_counts_beside_fractions_are_refused_with_their_names(tmp_path, write_image, many, few):
    for number in range(70):
        kind = few if number == 33 else many
        write_image(tmp_path / f"{number:02}.tif", number, 3, 6, kind[0], kind[1])
    names = r"33\.tif" if many[0] != few[0] else "tif"
    if many[0] == few[0]:  # of one type only a sample is looked at
        for number in (34, 35, 36):
            write_image(tmp_path / f"{number:02}.tif", number, 3, 6, *few)
    with pytest.raises(InputError, match=f"{tmp_path}: .*{names}.*expected one unit"):
        _info(tmp_path)


def test_decibels_beside_counts_are_refused(tmp_path, write_image):
    rng = np.random.default_rng(0)
    for number in range(40):
        write_image(tmp_path / f"{number}.tif", number, 1, 6, "uint16", 900)
    write_image(tmp_path / "db.tif", pixels=rng.uniform(-25, -5, (1, 6, 6)).astype(np.float32))
    with pytest.raises(InputError, match=r"db\.tif have values below 0, .*expected one unit"):
        _info(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("uint16", 10_000), ("uint16", 200)),
        (("float32", 1), ("float32", 0.05)),
        (("uint16", 10_000), ("float32", 10_000)),
        (("uint16", 10_000), ("uint16", 1)),
    ],
)
def test_bright_and_dark_images_of_one_unit_are_fine(tmp_path, write_image, one, other):
    write_image(tmp_path / "a.tif", 0, 3, 6, *one)
    write_image(tmp_path / "b.tif", 1, 3, 6, *other)
    write_image(tmp_path / "c.tif", 1, 3, 6, *one)
    assert _info(tmp_path).is_16bit


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
