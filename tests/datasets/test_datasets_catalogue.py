import subprocess
import sys

import pytest
import torch
from layouts import OFFICIAL, write_official

from rs_otl.datasets.catalogue import CATALOGUE, data_root, entry_named
from rs_otl.errors import InputError
from rs_otl.spec import ImageSpec

ON_DISK = list(OFFICIAL)


def test_numbers_are_the_published_ones():
    published = {
        "eurosat": (10, 27_000, 64),
        "eurosat-ms": (10, 27_000, 64),
        "ucmerced": (21, 2_100, 256),
        "patternnet": (38, 30_400, 256),
        "resisc45": (45, 31_500, 256),
        "aid": (30, 10_000, 600),
        "siri-whu": (12, 2_400, 200),
        "hmhr": (5, 533, 256),
        "cifar10": (10, 60_000, 32),
        "cifar100": (100, 60_000, 32),
        "svhn": (10, 99_289, 32),
        "imagenet": (1_000, 1_331_167, 500),
        "synthetic": (10, 1_600, 64),
    }
    found = {
        name: (len(entry.classes), entry.images, entry.size) for name, entry in CATALOGUE.items()
    }
    assert found == published


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_entries_are_complete(entry):
    texts = (entry.title, entry.units, entry.resolution, entry.licence, entry.citation)
    assert all(texts)
    assert entry.obtain
    assert list(entry.classes) == sorted(entry.classes)
    if entry.mean is not None:
        ImageSpec(
            bands=entry.bands,
            units=entry.units,
            scale=entry.scale,
            resolution=entry.resolution,
            mean=entry.mean,
            std=entry.std,
        )


@pytest.mark.parametrize("name", ON_DISK)
def test_partial_copies_open_with_official_labels(tmp_path, write_image, name):
    write_official(tmp_path, name, write_image)
    entry = CATALOGUE[name]
    dataset = entry.open(tmp_path)
    assert tuple(dataset.classes) == entry.classes
    assert [label for _, label in dataset.samples] == [0, len(entry.classes) - 1]
    sample = dataset[0]
    assert sample["image"].dtype == torch.float32
    assert len(sample["image"]) == len(entry.bands)
    assert sample["label"] == 0


@pytest.mark.parametrize("name", ON_DISK)
def test_what_is_missing_is_said_by_class(tmp_path, write_image, name):
    entry = CATALOGUE[name]
    assert sum(entry.present(tmp_path).values()) == 0
    write_official(tmp_path, name, write_image)
    present = entry.present(tmp_path)
    first = entry.classes[0]
    assert present[first] == 1
    assert f"2 of {entry.images:,} images: {first} lacks" in entry.missing(present)
    assert entry.missing(entry.counts) is None


@pytest.mark.parametrize("name", ON_DISK)
def test_not_found_says_where_and_how(tmp_path, name):
    entry = CATALOGUE[name]
    with pytest.raises(InputError) as caught:
        entry.open(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / entry.folders[0]) in message
    assert entry.files in message
    assert entry.obtain in message
    assert "\n" not in message


def test_an_empty_folder_counts_as_not_found(tmp_path):
    (tmp_path / "AID" / "Airport").mkdir(parents=True)
    with pytest.raises(InputError, match="no images of AID"):
        CATALOGUE["aid"].open(tmp_path)


def test_only_some_can_be_downloaded(tmp_path):
    with pytest.raises(InputError, match=r"hmhr cannot be downloaded automatically\. Clone"):
        CATALOGUE["hmhr"].open(tmp_path, download=True)


def test_root_comes_from_the_option_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("RS_OTL_DATA", raising=False)
    assert str(data_root()) == "data"
    monkeypatch.setenv("RS_OTL_DATA", str(tmp_path))
    assert data_root() == tmp_path
    assert data_root(tmp_path / "here") == tmp_path / "here"


def test_misspelt_names_get_a_hint():
    with pytest.raises(InputError, match=r"'EuroSTA'.*did you mean eurosat"):
        entry_named("EuroSTA")
    with pytest.raises(InputError, match="there are eurosat, eurosat-ms"):
        entry_named("zzz")


def test_the_catalogue_imports_no_torch():
    code = (
        "import sys, rs_otl.datasets, rs_otl.datasets.catalogue, rs_otl.cli.datasets;"
        "print({'torch', 'torchgeo', 'rasterio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
