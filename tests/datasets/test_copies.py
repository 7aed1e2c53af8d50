"""Copies of the catalogue's data sets under the names that they go round by."""

import pytest
from layouts import OFFICIAL, write_official

from rs_otl.datasets import load_dataset
from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.errors import InputError

# Where a copy lies, with {} for a class of three.
COPIES = [
    ("aid", "AID_dataset/{}"),
    ("aid", "AID_Dataset/AID/{}"),
    ("aid", "AID/AID/{}"),
    ("aid", "aid/images/{}"),
    ("ucmerced", "UCMerced_LandUse/UCMerced_LandUse/Images/{}"),
    ("ucmerced", "ucmerced_landuse/images/{}"),
    ("ucmerced", "UC Merced/{}"),
    ("ucmerced", "archive/UCMerced_LandUse/Images/{}"),
    ("patternnet", "PatternNet/PatternNet/images/{}"),
    ("patternnet", "patternnet/{}"),
    ("resisc45", "NWPU-RESISC45/NWPU-RESISC45/{}"),
    ("resisc45", "NWPU_RESISC45/{}"),
    ("resisc45", "resisc45/{}"),
    ("siri-whu", "12class_tif/{}"),
    ("siri-whu", "SIRI-WHU/12class_tif/{}"),
    ("siri-whu", "Google dataset of SIRI-WHU_earth_im_tiff/x/12class_tif/{}"),
    ("hmhr", "RS Image Dataset/{}"),
    ("hmhr", "HMHR/{}"),
    ("eurosat", "EuroSAT_RGB/{}"),
    ("eurosat", "EuroSAT/{}"),
    ("eurosat", "EuroSAT/2750/2750/{}"),
    ("eurosat-ms", "EuroSAT_MS/{}"),
    ("eurosat-ms", "EuroSATallBands/{}"),
    ("eurosat-ms", "EuroSATallBands/ds/images/remote_sensing/otherDatasets/sentinel_2/tif/{}"),
]


def _suffix(name):
    return ".tif" if name == "eurosat-ms" else ".jpg"


def _touch(root, layout, classes, suffix, count=2):
    for image_class in classes:
        folder = root / layout.format(image_class)
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}{suffix}").touch()


@pytest.mark.parametrize(("name", "layout"), COPIES)
def test_copies_are_found(tmp_path, name, layout):
    entry = CATALOGUE[name]
    _touch(tmp_path, layout, entry.classes[:3], _suffix(name))
    found = entry.layout(tmp_path)
    assert found.folder == (tmp_path / layout).parent
    assert list(found.classes) == list(entry.classes[:3])
    assert sum(entry.present(tmp_path).values()) == 6
    if not any((tmp_path / layout).parent == tmp_path / folder for folder in entry.folders):
        assert f"{name}: 3 of {len(entry.classes)} classes found in" in found.note
        assert "\n" not in found.note


def _spellings(name):
    return name.lower(), name.upper(), name.replace("_", " "), name.replace("_", "-"), name.title()


@pytest.mark.parametrize("name", ["patternnet", "aid", "siri-whu"])
def test_classes_may_be_spelt_otherwise(tmp_path, name):
    entry = CATALOGUE[name]
    official = OFFICIAL[name][0].split(f"/{entry.classes[0]}/")[0]
    spelt = [_spellings(c)[number % 5] for number, c in enumerate(entry.classes)]
    _touch(tmp_path, official + "/{}", spelt, ".jpg", 1)
    assert list(entry.present(tmp_path).values()) == [1] * len(entry.classes)
    assert "calls classes" in entry.layout(tmp_path).note


@pytest.mark.parametrize(
    ("layout", "splits"),
    [
        ("resisc/{split}/{}", ("train", "val", "test")),
        ("NWPU-RESISC45/{split}/{}", ("Train", "Test")),
        ("nwpu/{split}/images/{}", ("training", "validation")),
        ("NWPU-RESISC45/{split}/{}", ("train_images", "test_images")),
    ],
)
def test_splits_above_the_classes_are_put_together(tmp_path, layout, splits):
    entry = CATALOGUE["resisc45"]
    for split in splits:
        _touch(tmp_path, layout.replace("{split}", split), ("airplane", "beach"), ".jpg")
    assert entry.present(tmp_path)["beach"] == 2 * len(splits)
    note = entry.layout(tmp_path).note
    assert "2 of 45 classes" in note
    assert all(split in note for split in splits)


def test_the_same_images_in_splits_beside_are_not_counted_twice(tmp_path):
    entry = CATALOGUE["ucmerced"]
    top = "UCMerced_LandUse/UCMerced_LandUse"
    _touch(tmp_path, top + "/Images/{}", entry.classes, ".tif")
    for split in ("train", "test", "validation"):
        _touch(tmp_path, f"{top}/images_train_test_val/{split}/{{}}", entry.classes, ".png", 1)
    assert sum(entry.present(tmp_path).values()) == 42
    assert entry.layout(tmp_path).folder == tmp_path / top / "Images"
    assert "not read: " in entry.layout(tmp_path).note


def test_the_official_layout_goes_before_copies(tmp_path, write_image):
    write_official(tmp_path, "aid", write_image)
    _touch(tmp_path, "AID_dataset/{}", CATALOGUE["aid"].classes, ".jpg", 5)
    assert CATALOGUE["aid"].layout(tmp_path).folder == tmp_path / "AID"
    assert CATALOGUE["aid"].layout(tmp_path).note is None
    assert sum(CATALOGUE["aid"].present(tmp_path).values()) == 2


def test_whole_copies_need_no_name(tmp_path):
    entry = CATALOGUE["aid"]
    _touch(tmp_path, "download/{}", entry.classes, ".jpg", 1)
    assert entry.layout(tmp_path).folder == tmp_path / "download"
    assert entry.layout(tmp_path / "download").folder == tmp_path / "download"


@pytest.mark.parametrize("name", ["ucmerced", "patternnet", "resisc45", "aid", "siri-whu"])
def test_a_data_set_is_not_taken_for_another_that_shares_classes(tmp_path, name):
    layout = OFFICIAL[name][0].rsplit("/", 2)[0] + "/{}"
    _touch(tmp_path, layout, CATALOGUE[name].classes, ".jpg", 1)
    found = {other for other, entry in CATALOGUE.items() if entry.layout(tmp_path)}
    assert found == {name}


def test_pictures_and_bands_of_eurosat_are_told_apart(tmp_path):
    pictures, bands = CATALOGUE["eurosat"], CATALOGUE["eurosat-ms"]
    _touch(tmp_path, "EuroSAT/{}", pictures.classes, ".jpg")
    assert bands.layout(tmp_path) is None
    _touch(tmp_path, "EuroSATallBands/{}", pictures.classes, ".tif")
    assert bands.layout(tmp_path).folder == tmp_path / "EuroSATallBands"
    assert pictures.layout(tmp_path).folder == tmp_path / "EuroSAT"


def test_links_do_not_make_the_search_endless(tmp_path):
    _touch(tmp_path, "aid/x/{}", CATALOGUE["aid"].classes[:2], ".jpg")
    (tmp_path / "aid" / "again").symlink_to("..")
    assert sum(CATALOGUE["aid"].present(tmp_path).values()) == 4


def test_a_copy_is_loaded_like_the_official_one_and_said_on_stderr(tmp_path, write_image, capsys):
    write_official(tmp_path / "official", "aid", write_image, copies=2)
    (tmp_path / "copy").mkdir()
    (tmp_path / "official" / "AID").rename(tmp_path / "copy" / "AID_dataset")
    write_official(tmp_path / "official", "aid", write_image, copies=2)
    official, copy = (load_dataset("aid", 8, tmp_path / root) for root in ("official", "copy"))
    assert copy.paths == official.paths
    assert copy.hashes.tolist() == official.hashes.tolist()
    assert copy.labels.tolist() == official.labels.tolist()
    assert copy.classes == official.classes
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("aid: ")] == [
        f"aid: 2 of 30 classes found in {tmp_path / 'copy' / 'AID_dataset'}"
    ]


def test_what_is_missing_is_a_summary(tmp_path):
    entry = CATALOGUE["resisc45"]
    text = entry.missing({"airplane": 600})
    assert text == (
        "600 of 31,500 images: airplane lacks 100, airport lacks 700, "
        "baseball_diamond lacks 700, 42 more classes lack some"
    )
    few = dict(entry.counts) | {"wetland": 1, "airport": 2}
    assert entry.missing(few).endswith("images: airport lacks 698, wetland lacks 699")


@pytest.mark.parametrize("name", [n for n, e in CATALOGUE.items() if e.folders and not e.downloads])
def test_what_cannot_be_downloaded_says_how_to_get_it(tmp_path, name):
    import rs_otl.datasets

    entry = CATALOGUE[name]
    with pytest.raises(FileNotFoundError) as caught:
        getattr(rs_otl.datasets, entry.dataset)(tmp_path, download=True)
    assert entry.obtain in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_download_says_address_size_and_the_way_by_hand(tmp_path, monkeypatch):
    import rs_otl.datasets

    monkeypatch.setattr(rs_otl.datasets.UCMerced, "url", "http://127.0.0.1:9/")
    with pytest.raises(InputError) as caught:
        CATALOGUE["ucmerced"].open(tmp_path, download=True)
    message = str(caught.value)
    assert "could not be downloaded from http://127.0.0.1:9/UCMerced_LandUse.zip" in message
    assert "330 MB" in message
    assert "\n" not in message


def test_eurosat_is_where_it_has_moved_to():
    for name in ("eurosat", "eurosat-ms"):
        assert "zenodo.org/records/7711810" in CATALOGUE[name].obtain
