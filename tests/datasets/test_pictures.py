"""CIFAR, SVHN and ImageNet, drawn small: official test images, and selections of the others."""

import hashlib
import pickle

import numpy as np
import pytest
import scipy.io
import torch
from command_line import rs_otl_here, undrawn
from torchvision import datasets as torchvision_datasets

import rs_otl.datasets
from rs_otl.datasets import CATALOGUE, CIFAR10, divide, load_dataset
from rs_otl.errors import InputError

FOLDERS = {
    "cifar10": "cifar10/{split}/{name}/{number:04}.png",
    "cifar100": "CIFAR-100-images/{split}/{name}/{number:04}.jpg",
    "svhn": "svhn/{split}/{name}/{number:04}.png",
    "imagenet": "imagenet/{split}/{name}/ILSVRC2012_{number:08}.JPEG",
}


@pytest.fixture
def draw(tmp_path, write_image):
    """A function that draws a data set as image files and returns the root."""

    def drawn(name, train=4, test=2, classes=2):
        entry = CATALOGUE[name]
        for place, split in enumerate(entry.splits):
            for label, image_class in enumerate(entry.classes[:classes]):
                for number in range((train, test)[place]):
                    path = FOLDERS[name].format(split=split, name=image_class, number=number)
                    seed = number + 100 * label + 10_000 * place
                    write_image(tmp_path / path, seed=seed, side=32)
        return tmp_path

    return drawn


def _pack_cifar10(root, monkeypatch):
    """Write CIFAR-10 as its authors do, two images a batch, and let torchvision expect it."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    lists = {"train_list": [], "test_list": []}
    pixels = {}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels[name] = random.integers(0, 256, (2, 3072)).astype(np.uint8)
        labels = [number % 10, (number + 1) % 10]
        data = pickle.dumps({"data": pixels[name], "labels": labels})
        (folder / name).write_bytes(data)
        kind = "test_list" if name == "test_batch" else "train_list"
        lists[kind].append([name, hashlib.md5(data).hexdigest()])
    meta = pickle.dumps({"label_names": list(CATALOGUE["cifar10"].classes)})
    (folder / "batches.meta").write_bytes(meta)
    for kind, listed in lists.items():
        monkeypatch.setattr(torchvision_datasets.CIFAR10, kind, listed)
    described = {**torchvision_datasets.CIFAR10.meta, "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "meta", described)
    return folder, pixels


@pytest.mark.parametrize("name", FOLDERS)
def test_image_files_are_divided_by_their_official_splits(draw, name):
    root = draw(name)
    entry = CATALOGUE[name]
    loaded = load_dataset(name, 8, root)
    division = divide(loaded)
    assert [loaded.paths[i].split("/")[0] for i in division.test] == [entry.splits[1]] * 4
    assert len(division.train) == 8
    assert loaded.classes == entry.classes
    assert loaded.labels[division.train].tolist() == [0] * 4 + [1] * 4
    assert loaded.spec.mean == (0.4914, 0.4822, 0.4465)
    assert f"12 of {entry.images:,} images" in loaded.missing
    with pytest.raises(InputError, match=f"{name} has test images of its own"):
        divide(loaded, 2)
    dataset_class = getattr(rs_otl.datasets, entry.dataset)
    train, test = (dataset_class(root, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (8, 4)


def test_the_published_files_are_read_once_their_checksums_are_right(tmp_path, monkeypatch):
    folder, pixels = _pack_cifar10(tmp_path, monkeypatch)
    loaded = load_dataset("cifar10", 32, tmp_path)
    division = divide(loaded)
    assert (len(division.train), len(division.test)) == (10, 2)
    one = loaded.paths.index("train/airplane/00000")
    expected = torch.from_numpy(pixels["data_batch_1"][0]).view(3, 32, 32)
    assert torch.equal(loaded.uint8_batch([one])[0], expected)
    assert CATALOGUE["cifar10"].present(tmp_path) == CATALOGUE["cifar10"].counts
    assert CIFAR10(tmp_path, split="test")[0]["image"].shape == (3, 32, 32)

    # A pickle that runs something when it is read: it is not.
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    (folder / "test_batch").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="is not the official one of CIFAR-10"):
        load_dataset("cifar10", 32, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_house_numbers_are_read_from_matlab_files(tmp_path, monkeypatch):
    splits = {}
    for number, (split, listed) in enumerate(torchvision_datasets.SVHN.split_list.items()):
        images = np.random.default_rng(number).integers(0, 256, (32, 32, 3, 3)).astype(np.uint8)
        path = tmp_path / listed[1]
        scipy.io.savemat(path, {"X": images, "y": np.array([[10], [1], [9]])})
        splits[split] = [listed[0], listed[1], hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision_datasets.SVHN, "split_list", splits)
    loaded = load_dataset("svhn", 32, tmp_path)
    assert loaded.paths == [
        f"{s}/{d}/0000{i}" for s in ("test", "train") for i, d in enumerate("019")
    ]
    assert loaded.labels.tolist() == [0, 1, 9] * 2
    assert divide(loaded).test.tolist() == [0, 1, 2]


def _counts(name, root):
    loaded = load_dataset(name, 8, root)
    return np.bincount(loaded.labels[divide(loaded).train]).tolist(), loaded


def test_fewer_images_evenly_and_unevenly(draw):
    root = draw("cifar10", train=12, test=1, classes=10)
    assert _counts("cifar10@5", root)[0] == [5] * 10
    uneven, loaded = _counts("cifar10@uneven-1", root)
    assert uneven == [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]
    assert len(divide(loaded).test) == 10
    assert loaded.name == "cifar10@uneven-1"
    even, _ = _counts("cifar10@even-1", root)
    assert sorted(even) == [7] * 5 + [8] * 5
    assert sum(even) == sum(uneven)
    assert _counts("cifar10@11,uneven-1", root)[0] == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]
    # A draw is the same again, lies within a larger one, and is another with another seed.
    few = load_dataset("cifar10@3", 8, root).paths
    assert few == load_dataset("cifar10@3", 8, root).paths
    assert set(few) < set(load_dataset("cifar10@5", 8, root).paths)
    assert few != load_dataset("cifar10@3,seed-1", 8, root).paths


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("13", "13 images of class airplane; expected at least 1 and at most the 12"),
        ("uneven-2", "0 images of class frog"),
        ("half", "expected cifar10, or for fewer of its images cifar10@"),
        ("", "expected cifar10, or for fewer"),
        ("5,6", "expected cifar10, or for fewer"),
        ("even-1,uneven-1", "expected cifar10, or for fewer"),
    ],
)
def test_a_selection_that_is_none_is_one_line(draw, selection, message):
    root = draw("cifar10", train=12, test=1, classes=10)
    with pytest.raises(InputError, match=message):
        load_dataset(f"cifar10@{selection}", 8, root)


def test_data_sets_without_test_images_are_thinned_before_they_are_divided(tmp_path, write_image):
    for label, name in enumerate(CATALOGUE["hmhr"].classes):
        for number in range(6):
            path = tmp_path / "HMHR/RS Image Dataset" / name / f"{number}.jpg"
            write_image(path, seed=10 * label + number)
    loaded = load_dataset("hmhr@6,uneven-1", 8, tmp_path)
    assert np.bincount(loaded.labels).tolist() == [6, 5, 4, 3, 2]
    assert len(divide(loaded).test) == 4


def test_pretrain_and_evaluate_on_the_official_test_images(draw, tmp_path):
    root = draw("cifar10", train=12, test=1, classes=10)
    out = tmp_path / "run"
    small = ["epochs=1", "image_size=32", "clusters=4", "batch_size=16", "hidden=0"]
    small += ["encoder=test_resnet"]
    settings = [word for setting in small for word in ("--set", setting)]
    with undrawn():
        rs_otl_here(
            *("pretrain", "cifar10@uneven-1", "--recipe", "quick", "--root", root, "--out", out),
            *settings,
        )
    done = rs_otl_here("evaluate", out, "--on", "cifar10", "--root", root)
    assert "10 test images, 120 labelled training images" in " ".join(done.stdout.split())
    card = (out / "encoder" / "README.md").read_text()
    assert "CIFAR-10" in card


@pytest.mark.parametrize("name", ["cifar10", "cifar100@25", "svhn", "imagenet"])
def test_what_lacks_is_said_with_how_to_get_it(name, tmp_path):
    line = rs_otl_here("pretrain", name, check=2, cwd=tmp_path).stderr.splitlines()[-1]
    assert "no images of " in line
    assert ("image-net.org" if name == "imagenet" else f"pretrain {name} --download`") in line
