from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rs_otl.datasets import _memory, load_dataset
from rs_otl.errors import InputError


def _load(folder, size=8, **options):
    return load_dataset(str(folder), size, **options)


@pytest.fixture
def two_classes(tmp_path, write_image):
    """Six images of two classes, the folder named scenes."""
    folder = tmp_path / "scenes"
    for number in range(6):
        write_image(folder / "ab"[number % 2] / f"{number}.png", seed=number, side=8)
    return folder


@pytest.fixture
def spoilt(two_classes, write_image):
    """The same with every kind of file that gives trouble."""
    write_image(two_classes / "a" / "cut.jpg", side=64)
    cut = (two_classes / "a" / "cut.jpg").read_bytes()
    (two_classes / "a" / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (two_classes / "a" / "empty.png").touch()
    (two_classes / "b" / "text.jpg").write_text("not a picture")
    write_image(two_classes / "b" / "deep.tif", dtype="uint16", high=4000)
    write_image(two_classes / "b" / "grey.png", bands=1)
    write_image(two_classes / "b" / "six.tif", bands=6)
    return two_classes


def test_samples_hold_image_label_and_index(two_classes, write_image):
    imagery = _load(two_classes)
    assert imagery.name == "scenes"
    assert imagery.paths == ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png"]
    assert imagery.classes == ("a", "b")
    assert imagery.labels.tolist() == [0, 0, 0, 1, 1, 1]
    sample = imagery[3]
    assert sample["label"] == 1
    assert sample["index"] == 3
    assert sample["label"].dtype == sample["index"].dtype == torch.int64
    assert sample["label"].shape == sample["index"].shape == ()
    written = write_image(two_classes.parent / "again.png", seed=1, side=8)
    torch.testing.assert_close(sample["image"], torch.from_numpy(written).float() / 255)


def test_a_batch_is_its_samples(two_classes):
    imagery = _load(two_classes)
    batch = imagery.__getitems__([4, 1])
    for key in ("image", "label", "index"):
        assert torch.equal(batch[key], torch.stack([imagery[4][key], imagery[1][key]]))


def test_flat_piles_have_no_label(tmp_path, write_image):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    imagery = _load(tmp_path)
    assert imagery.labels is None
    assert imagery.classes is None
    assert set(imagery[0]) == {"image", "index"}


@pytest.mark.parametrize("cache_bytes", [None, 0])
def test_what_cannot_be_used_is_named(spoilt, cache_bytes):
    imagery = _load(spoilt, cache_bytes=cache_bytes)
    reasons = {file.path: file.reason for file in imagery.left_out}
    assert set(reasons) == {"a/cut.jpg", "a/empty.png", "b/text.jpg", "b/six.tif"}
    assert "truncated" in reasons["a/cut.jpg"]
    assert "empty" in reasons["a/empty.png"]
    assert "not an image" in reasons["b/text.jpg"]
    assert reasons["b/six.tif"] == "has 6 bands, the data set 3"
    assert len(imagery) == len(imagery.labels) == len(imagery.hashes) == 8
    images = imagery.images(range(8))
    assert images.shape == (8, 3, 8, 8)
    grey = images[imagery.paths.index("b/grey.png")]
    assert torch.equal(grey[0], grey[1])
    deep = images[imagery.paths.index("b/deep.tif")]
    assert 0.2 < deep.mean() < 0.8


def test_held_and_decoded_again_are_equal(spoilt):
    held, decoded = _load(spoilt), _load(spoilt, cache_bytes=0)
    assert held.cached
    assert not decoded.cached
    assert torch.equal(held.images(range(8)), decoded.images(range(8)))
    np.testing.assert_array_equal(held.hashes, decoded.hashes)
    assert held.spec == decoded.spec


def test_images_are_held_up_to_the_budget(two_classes):
    needed = 6 * 3 * 8 * 8
    assert _load(two_classes, cache_bytes=needed).cached
    assert not _load(two_classes, cache_bytes=needed - 1).cached


@pytest.mark.parametrize("cache", ["disk", "auto"])
def test_a_file_holds_what_memory_does_not(two_classes, tmp_path, cache):
    there = tmp_path / "run"
    there.mkdir()
    held = _load(two_classes)
    mapped = _load(two_classes, cache_bytes=0, cache=cache, cache_folder=there)
    assert mapped.cached
    assert isinstance(mapped._cache, np.memmap)
    assert not list(there.iterdir())  # without a name: nothing is left behind
    for path in two_classes.rglob("*.png"):
        path.unlink()
    assert torch.equal(held.uint8_batch(range(6)), mapped.uint8_batch(range(6)))
    assert held.uint8_batch([0]).dtype == torch.uint8


def test_auto_prefers_memory_and_none_is_none(two_classes):
    assert not isinstance(_load(two_classes, cache="auto")._cache, np.memmap)
    assert not _load(two_classes, cache="none").cached


def test_a_disk_without_room_is_named_or_done_without(two_classes, tmp_path, monkeypatch):
    full = SimpleNamespace(free=2**30)
    monkeypatch.setattr(_memory.shutil, "disk_usage", lambda path: full)
    with pytest.raises(InputError, match=r"images do not fit into the 0\.0 GiB that are free"):
        _load(two_classes, cache="disk", cache_folder=tmp_path)
    assert not _load(two_classes, cache_bytes=0, cache="auto", cache_folder=tmp_path).cached
    with pytest.raises(InputError, match="expected auto, ram, disk or none"):
        _load(two_classes, cache="tape")


def test_workers_can_decode(two_classes):
    imagery = _load(two_classes, cache_bytes=0)
    loader = DataLoader(imagery, batch_size=3, num_workers=1, collate_fn=lambda batch: batch)
    images = torch.cat([batch["image"] for batch in loader])
    assert torch.equal(images, imagery.images(range(6)))


def test_a_file_that_vanished_is_named(two_classes):
    imagery = _load(two_classes, cache_bytes=0)
    (two_classes / "a" / "0.png").unlink()
    with pytest.raises(InputError, match=r"0\.png: there is no such file"):
        imagery[0]


def test_hashes_are_of_the_pixels_before_resizing(tmp_path, write_image):
    pixels = write_image(tmp_path / "a.png", side=9)
    write_image(tmp_path / "b.tif", pixels=pixels)
    write_image(tmp_path / "c.png", pixels=np.where(np.indices(pixels.shape)[1] == 8, 0, pixels))
    one, same, other = _load(tmp_path, size=2).hashes.tolist()
    assert one == same != other


def test_deep_folders_keep_their_depth(tmp_path, write_image):
    pixels = np.arange(4 * 16 * 16, dtype=np.uint16).reshape(4, 16, 16)
    write_image(tmp_path / "a.tif", pixels=pixels)
    write_image(tmp_path / "b.tif", pixels=pixels)
    imagery = _load(tmp_path, size=16)
    assert imagery.spec.units == "16-bit counts"
    assert imagery.spec.scale == pytest.approx(1022, abs=2)
    expected = torch.from_numpy(pixels.astype(np.float32) / imagery.spec.scale).clamp(max=1)
    torch.testing.assert_close(imagery[0]["image"], expected, atol=1e-5, rtol=0)


def test_statistics_are_estimated_for_folders_and_published_for_the_catalogue(
    tmp_path, write_image, two_classes
):
    assert _load(two_classes).spec.mean == pytest.approx([0.5] * 3, abs=0.05)
    write_image(tmp_path / "HMHR/RS Image Dataset/Water/Water01.jpg")
    imagery = load_dataset("hmhr", 8, root=tmp_path)
    assert imagery.spec.mean == (0.4914, 0.4822, 0.4465)
    assert imagery.labels.tolist() == [4]
    assert imagery.missing.startswith("1 of 533 images: Buildings lacks 121")


def test_bands_of_bands_are_counted_among_the_chosen(tmp_path, write_image):
    write_image(tmp_path / "a.tif", bands=4)
    images = _load(tmp_path)
    spec = images.spec.model_copy(update={"bands": ("c", "a"), "mean": (0, 0), "std": (1, 1)})
    swapped = images.of_bands([2, 0], spec).of_bands([1, 0], spec)
    assert torch.equal(swapped.images([0]), images.images([0])[:, [0, 2]])
    one = images.of_bands([2, 0], spec).of_bands([1], spec)
    assert torch.equal(one.images([0]), images.images([0])[:, [0]])


def test_thirteen_bands(tmp_path, write_image):
    folder = tmp_path / "ds/images/remote_sensing/otherDatasets/sentinel_2/tif/River"
    written = write_image(folder / "River_1.tif", bands=13, dtype="uint16", high=12_000)
    imagery = load_dataset("eurosat-ms", 12, root=tmp_path)
    assert imagery.spec.bands[-1] == "B8A"
    expected = torch.from_numpy(written.astype(np.float32) / 10_000).clamp(max=1)
    torch.testing.assert_close(imagery[0]["image"], expected, atol=1e-5, rtol=0)


def test_errors(tmp_path, write_image):
    with pytest.raises(InputError, match="did you mean ucmerced"):
        load_dataset("ucmercd", 8)
    with pytest.raises(InputError, match="absent: no such folder, expected images"):
        _load(tmp_path / "absent")
    with pytest.raises(InputError, match="no images, expected"):
        _load(tmp_path)
    with pytest.raises(InputError, match="size must be at least 1 pixel"):
        _load(tmp_path, size=0)
    write_image(tmp_path / "a.jpg", side=64)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    with pytest.raises(InputError, match=r"none of 1 image files can be used.*a\.jpg"):
        _load(tmp_path)


def test_progress_goes_to_stderr(two_classes, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes it for a terminal
    _load(two_classes, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Reading scenes" in err


@pytest.mark.parametrize(
    ("name", "count", "classes", "missing"),
    [
        ("hmhr", 533, 5, None),
        ("ucmerced", 2100, 21, None),
        (
            "siri-whu",
            2398,
            12,
            "2,398 of 2,400 images: agriculture lacks 1, pond lacks 1",
        ),
        ("aid", 3600, 30, "3,600 of 10,000 images: Airport lacks 240"),
    ],
)
def test_real_data_sets_load(real_data, name, count, classes, missing):
    imagery = load_dataset(name, 8, root=real_data)
    assert len(imagery) == count
    assert imagery.left_out == []
    assert np.bincount(imagery.labels, minlength=classes).min() > 0
    assert (imagery.missing or "").startswith(missing or "")
    assert (imagery.missing is None) == (missing is None)
    assert 0.1 < imagery.images(range(0, count, 50)).mean() < 0.9
