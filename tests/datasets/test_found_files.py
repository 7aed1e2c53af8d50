"""Which files below a folder are images: links, pipes, runs and odd names."""

import os
import socket

import pytest

from rs_otl.datasets.files import find_images
from rs_otl.datasets.folder import list_folder
from rs_otl.errors import InputError


@pytest.fixture
def images(tmp_path):
    """Two classes of two files."""
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


EVERY = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("again", "."),
        ("a/up", ".."),
        ("a/above", "../.."),
        ("c", "a"),
        ("A", "a"),
        ("b/other", "../a"),
        ("a/00.png", "0.png"),
        ("c.png", "b/1.png"),
    ],
)
def test_what_links_lead_to_is_read_once_under_its_own_name(images, link, target):
    (images / link).symlink_to(target)
    listing = list_folder(images)
    assert listing.paths == EVERY
    assert listing.classes == ("a", "b")
    assert [(other.path, "already read" in other.reason) for other in listing.others] == [
        (link, True)
    ]


def test_links_to_what_lies_elsewhere_are_followed(images, tmp_path):
    (tmp_path / "other").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "other" / name).touch()
    (images / "c").symlink_to(tmp_path / "other")
    (images / "a" / "2.png").symlink_to(tmp_path / "other" / "0.png")
    listing = list_folder(images)
    assert listing.classes == ("a", "b", "c")
    assert len(listing.paths) == 6
    assert "a/2.png" in [other.path for other in listing.others]


def test_a_link_to_itself_or_to_nothing_is_left_to_be_named_when_read(images):
    (images / "a" / "self.png").symlink_to("self.png")
    (images / "b" / "none.png").symlink_to("nowhere.png")
    assert {"a/self.png", "b/none.png"} < set(list_folder(images).paths)


def _pipe(path):
    os.mkfifo(path)


def _socket(path):
    # Addresses are short.
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


def _device(path):
    path.symlink_to("/dev/zero")


def _link_to_a_pipe(path):
    os.mkfifo(path.with_suffix(""))
    path.symlink_to(path.with_suffix("").name)


@pytest.mark.parametrize("make", [_pipe, _socket, _device, _link_to_a_pipe])
def test_only_regular_files_are_images(images, make):
    make(images / "a" / "odd.png")
    listing = list_folder(images)
    assert listing.paths == EVERY
    (odd,) = listing.others
    assert odd.path == "a/odd.png"
    assert "a pipe, a socket or a device" in odd.reason


def test_nothing_but_a_pipe_is_one_line_that_names_it(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"no images \(a\.png is a pipe, a socket"):
        list_folder(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        ("recipe.yaml", "metrics.csv", "figures/curves.png", "x/y.png"),
        ("recipe.yaml", "imagery.json", "figures/curves.png"),
        ("evaluation.json", "figures/confusion.png"),
        ("config.json", "model.safetensors", "sheet.png"),
    ],
)
@pytest.mark.parametrize("where", ["runs/pretrain/_", "runs", "a/run", "c"])
def test_what_this_program_wrote_is_no_class(images, files, where):
    for name in files:
        (images / where / name).parent.mkdir(parents=True, exist_ok=True)
        (images / where / name).touch()
    listing = list_folder(images)
    assert (listing.paths, listing.classes) == (EVERY, ("a", "b"))


def test_a_folder_with_a_recipe_alone_is_one_of_images(images):
    (images / "a" / "recipe.yaml").touch()
    assert list_folder(images).paths == EVERY


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", b"two\nlines", b" "])
def test_names_may_be_any_bytes(images, name):
    os.rename(os.fsencode(images / "a"), os.fsencode(images) + b"/" + name)
    listing = list_folder(images)
    assert len(listing.paths) == 4
    assert os.fsdecode(name) in listing.classes


def test_folders_that_cannot_be_listed_are_named(images, monkeypatch):
    listed = os.scandir

    def refused(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = find_images(images)
    assert len(found.paths) == 2
    assert found.others == [(images / "b", "cannot be listed (Permission denied)")]
