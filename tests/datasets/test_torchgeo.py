"""What a torchgeo user types: our data sets as torchgeo's, and torchgeo's in our cache."""

import dataclasses
import inspect
import os
import subprocess

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from layouts import OFFICIAL, write_official
from PIL import Image
from torch.utils.data import DataLoader
from torchgeo import datasets as torchgeo_datasets
from torchgeo.datasets import DatasetNotFoundError, NonGeoClassificationDataset

import rs_otl.datasets
from rs_otl.datasets import (
    AID,
    CATALOGUE,
    RESISC45,
    CachedDataset,
    EuroSAT,
    ImageFolder,
    PatternNet,
    SceneTiles,
    Synthetic,
    UCMerced,
    divide,
    load_dataset,
)
from rs_otl.errors import InputError
from rs_otl.spec import ImageSpec

matplotlib.use("Agg")

CLASSES = {name: getattr(rs_otl.datasets, CATALOGUE[name].dataset) for name in OFFICIAL}
on_disk = pytest.mark.parametrize("name", OFFICIAL)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _painted(figure, path):
    figure.savefig(path)
    return np.asarray(Image.open(path).convert("RGB")).std()


@on_disk
def test_a_data_set_is_used_like_one_of_torchgeos(tmp_path, write_image, name):
    write_official(tmp_path, name, write_image, copies=2)
    dataset = CLASSES[name](root=tmp_path, transforms=lambda sample: sample | {"seen": 1})
    assert isinstance(dataset, NonGeoClassificationDataset)
    entry = CATALOGUE[name]
    assert tuple(dataset.classes) == entry.classes
    assert dataset.targets == [0, 0, len(entry.classes) - 1, len(entry.classes) - 1]
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch["image"].shape[:2] == (4, len(entry.bands))
    assert batch["image"].dtype == torch.float32
    assert batch["image"].max() > 1
    assert batch["label"].tolist() == dataset.targets
    assert batch["seen"].tolist() == [1] * 4
    figure = dataset.plot(dataset[3] | {"prediction": torch.tensor(0)}, suptitle="Sample")
    assert figure.axes[0].get_title() == (
        f"Label: {entry.classes[-1]}\nPrediction: {entry.classes[0]}"
    )
    assert _painted(figure, tmp_path / "sample.png") > 20
    bare = dataset.plot(dataset[0], show_titles=False)
    assert bare.axes[0].get_title() == ""


@on_disk
def test_splits_are_the_papers_division(tmp_path, write_image, name):
    write_official(tmp_path, name, write_image, copies=5)
    dataset_class = CLASSES[name]
    train, test = (dataset_class(tmp_path, split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (8, 2)
    loaded = load_dataset(name, 8, tmp_path)
    division = divide(loaded)
    assert train.paths == [loaded.paths[i] for i in division.train]
    assert test.paths == [loaded.paths[i] for i in division.test]
    assert [int(test[i]["label"]) for i in range(2)] == loaded.labels[division.test].tolist()
    assert len(dataset_class(tmp_path)) == 10
    with pytest.raises(InputError, match="split='val': expected 'train' or 'test'"):
        dataset_class(tmp_path, split="val")


@on_disk
@pytest.mark.parametrize("download", [False, True])
def test_an_absent_data_set_is_not_found(tmp_path, name, download):
    if download and CATALOGUE[name].downloads:
        pytest.skip("would be downloaded")
    with pytest.raises(DatasetNotFoundError):
        CLASSES[name](tmp_path, download=download)


@pytest.mark.parametrize("ours", [EuroSAT, UCMerced, PatternNet, RESISC45])
def test_no_signature_is_narrower_than_torchgeos(ours):
    theirs = getattr(torchgeo_datasets, ours.__name__)
    assert issubclass(ours, theirs)
    names = list(inspect.signature(theirs).parameters)
    assert list(inspect.signature(ours).parameters)[: len(names)] == names


def test_some_bands_of_eurosat(tmp_path, write_image):
    write_official(tmp_path, "eurosat-ms", write_image)
    every, some = EuroSAT(tmp_path), EuroSAT(tmp_path, bands=("B08", "B02"))
    assert torch.equal(some[0]["image"], every[0]["image"][[7, 1]])
    cached = CachedDataset(some, None, 12)
    assert cached.spec.bands == ("B08", "B02")
    expected = (some[0]["image"] / 10_000).clamp(0, 1)
    torch.testing.assert_close(cached[0]["image"], expected, atol=1e-5, rtol=0)
    assert _painted(some.plot(some[0]), tmp_path / "grey.png") > 20
    with pytest.raises(ValueError, match="invalid band"):
        EuroSAT(tmp_path, bands=("B99",))


def test_synthetic_and_its_division(monkeypatch):
    entry = CATALOGUE["synthetic"]
    few = dataclasses.replace(entry, counts=dict.fromkeys(entry.classes, 10))
    monkeypatch.setitem(CATALOGUE, "synthetic", few)
    dataset = Synthetic(split="test")
    assert len(dataset) == 20
    assert dataset[0]["image"].shape == (4, 64, 64)
    assert len(dataset.plot(dataset[0]).axes) == 1


def test_a_folder_is_a_data_set(tmp_path, write_image):
    for number in range(10):
        write_image(tmp_path / "ab"[number % 2] / f"{number}.png", seed=number)
    write_image(tmp_path / "a" / "grey.png", bands=1)
    dataset = ImageFolder(tmp_path)
    assert dataset.classes == ["a", "b"]
    batch = next(iter(DataLoader(dataset, batch_size=11)))
    assert batch["image"].shape == (11, 3, 12, 12)
    assert len(ImageFolder(tmp_path, split="train")) == 9
    flat = ImageFolder(tmp_path / "a")
    assert set(flat[0]) == {"image"}
    assert flat.plot(flat[0]).axes[0].get_title() == ""


def test_scenes_are_a_data_set(tmp_path):
    from geo_scenes import draw, write

    write(tmp_path / "a.tif", draw(260, 260).astype(np.uint8))
    dataset = SceneTiles(tmp_path, size=40)
    assert set(dataset[0]) == {"image"}
    assert dataset[0]["image"].shape == (3, 40, 40)
    assert dataset.plot(dataset[0]).axes
    assert len(SceneTiles(tmp_path, size=40, split="test")) == round(0.2 * len(dataset))


@on_disk
def test_the_cache_reads_what_samples_hold(tmp_path, write_image, name):
    write_official(tmp_path, name, write_image)
    dataset = CLASSES[name](tmp_path)
    opened = []
    read = dataset.loader
    dataset.loader = lambda path: opened.append(path) or read(path)
    cached = CachedDataset(dataset, None, 256 if name == "ucmerced" else 12)
    assert opened[:2] == [path for path, _ in dataset.samples]
    expected = torch.stack([dataset[i]["image"] for i in range(2)]) / cached.spec.scale
    # UC Merced's samples are resized as floats.
    tolerance = 3 / 255 if name == "ucmerced" else 1e-5
    torch.testing.assert_close(cached.images([0, 1]), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("others", ["uint8", "uint16"])
@pytest.mark.parametrize("grey", ["uint8", "uint16"])
def test_samples_and_the_cache_take_the_same_grey_images(tmp_path, write_image, grey, others):
    for number in range(3):
        write_image(tmp_path / f"{number}.tif", number, dtype=others)
    write_image(tmp_path / "grey.tif", bands=1, dtype=grey)
    dataset = ImageFolder(tmp_path)
    cached = CachedDataset(dataset, None, 12)
    if grey == "uint8":
        assert cached.left_out == []
        assert dataset[3]["image"].shape == (3, 12, 12)
        return
    assert [file.path for file in cached.left_out] == ["grey.tif"]
    with pytest.raises(InputError, match=r"grey\.tif: has 1 band, the data set 3"):
        dataset[3]


def test_transforms_are_not_passed_over(tmp_path, write_image):
    write_official(tmp_path, "aid", write_image)
    plain = CachedDataset(AID(tmp_path), None, 12)
    flipped = AID(tmp_path, transforms=lambda s: s | {"image": s["image"].flip(-1)})
    cached = CachedDataset(flipped, plain.spec, 12)
    assert torch.equal(cached[0]["image"], plain[0]["image"].flip(-1))
    assert cached.classes == plain.classes


class _Mine(torch.utils.data.Dataset):
    """A user's own data set of a few lines."""

    def __init__(self, images, labels=None):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        if isinstance(image, Exception):
            raise image
        sample = {"image": torch.from_numpy(image).float()}
        return sample if self.labels is None else sample | {"label": self.labels[index]}


def _counts(count=6, bands=3, high=255):
    generator = np.random.default_rng(0)
    return list(generator.integers(0, high + 1, (count, bands, 9, 9)).astype(np.float32))


def test_a_data_set_of_the_users_own():
    images = _counts()
    images[4] = OSError("disk gone")
    cached = CachedDataset(_Mine(images, [0, 1, 2, 0, 1, 2]), None, 9)
    assert (cached.name, cached.classes) == ("_Mine", ("0", "1", "2"))
    assert cached.spec.bands == ("red", "green", "blue")
    assert cached.labels.tolist() == [0, 1, 2, 0, 2]
    assert cached.indices.tolist() == [0, 1, 2, 3, 5]
    assert [(item.path, item.reason) for item in cached.left_out] == [
        ("4", "cannot be read (disk gone)")
    ]
    assert cached.uint8_batch([4]).dtype == torch.uint8
    assert torch.equal(cached.uint8_batch([4])[0].float(), torch.from_numpy(images[5]))
    assert set(cached[0]) == {"image", "index", "label"}
    again = CachedDataset(_Mine(images, [0, 1, 2, 0, 1, 2]), None, 9, cache="none")
    assert torch.equal(again.images(range(5)), cached.images(range(5)))
    assert np.array_equal(again.hashes, cached.hashes)


def test_16_bit_counts_keep_their_depth():
    images = _counts(bands=5, high=4000)
    cached = CachedDataset(_Mine(images), None, 9)
    assert (cached.spec.units, cached.labels) == ("16-bit counts", None)
    assert cached.spec.bands[-1] == "band-5"
    assert 3900 < cached.spec.scale <= 4000
    expected = torch.from_numpy(images[0] / cached.spec.scale).clamp(0, 1)
    torch.testing.assert_close(cached[0]["image"], expected, atol=1e-5, rtol=0)


def test_several_classes_at_once_are_no_label():
    cached = CachedDataset(_Mine(_counts(), list(torch.ones(6, 4, dtype=torch.int64))), None, 9)
    assert cached.labels is None


def _spec(scale=255.0):
    return ImageSpec(
        bands=("red", "green", "blue"),
        units="8-bit counts",
        scale=scale,
        resolution=None,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
    )


@pytest.mark.parametrize("spec", [None, _spec()])
def test_normalised_images_are_refused(spec):
    standard = [(image - 127) / 74 for image in _counts()]
    with pytest.raises(InputError, match=r"_Mine: \d+% of the values lie below 0.*normalised"):
        CachedDataset(_Mine(standard), spec, 9)


def test_images_in_0_to_1_need_a_spec_that_says_so():
    unit = [image / 255 for image in _counts()]
    with pytest.raises(InputError, match="values reach 1, and the spec's scale is 255"):
        CachedDataset(_Mine(unit), _spec(), 9)
    cached = CachedDataset(_Mine(unit), _spec(scale=1), 9)
    torch.testing.assert_close(cached[0]["image"], torch.from_numpy(unit[0]), atol=1e-4, rtol=0)


def test_what_is_no_sample_or_has_other_bands_is_named():
    with pytest.raises(InputError, match=r"list\[0\]: expected a dictionary"):
        CachedDataset([1, 2], None, 9)
    with pytest.raises(InputError, match="most images have 5 bands"):
        CachedDataset(_Mine(_counts(bands=5)), _spec(), 9)
    with pytest.raises(InputError, match="no sample can be read; 0: cannot be read"):
        CachedDataset(_Mine([OSError("gone")]), None, 9)


def test_a_data_set_of_torchgeos_by_name(tmp_path, write_image):
    write_official(tmp_path, "resisc45", write_image)
    (tmp_path / "resisc45-train.txt").write_text("airplane_001.jpg\nwetland_001.jpg\n")
    cached = load_dataset("torchgeo/RESISC45", 12, tmp_path)
    assert (cached.name, len(cached)) == ("torchgeo/RESISC45", 2)
    assert cached.classes == ("airplane", "wetland")
    ours = load_dataset("resisc45", 12, tmp_path)
    assert torch.equal(cached.uint8_batch([0, 1]), ours.uint8_batch([0, 1]))
    assert cached.paths == ours.paths


def test_names_that_torchgeo_does_not_have_and_data_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"data set 'RESISC': did you mean .*RESISC45"):
        load_dataset("torchgeo/RESISC", 12, tmp_path)
    with pytest.raises(InputError, match="torchgeo/RESISC45: Dataset not found") as caught:
        load_dataset("torchgeo/RESISC45", 12, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_newest_torchgeo(tmp_path, request):
    """Run this file with the newest torchgeo, which needs Python 3.12."""
    python = os.environ.get("RS_OTL_NEWEST_TORCHGEO")
    if not python:
        pytest.skip("set RS_OTL_NEWEST_TORCHGEO to a Python that has the newest torchgeo")
    environment = {k: v for k, v in os.environ.items() if k != "RS_OTL_NEWEST_TORCHGEO"}
    files = [request.path, request.path.with_name("test_datasets_catalogue.py")]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)]
    done = subprocess.run(
        command,
        cwd=request.config.rootpath,
        env=environment | {"PYTHONPATH": str(request.config.rootpath)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
