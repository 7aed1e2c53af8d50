"""Where nothing can be written, or no more: one line that names the file, nothing half-written."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
from unittest import mock

import numpy as np
import pytest
import rasterio
from command_line import ENVIRONMENT, PROGRAM, draw_folder, rs_otl_here, settings, undrawn
from rasterio import Affine

from rs_otl.files import locked


@contextlib.contextmanager
def largest_file(size):
    """Let no file grow beyond a size, as on a full disk; Python ignores the signal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with images, a finished run, a scene and labels on it."""
    folder = tmp_path_factory.mktemp("made")
    draw_folder(folder / "images", images=8)
    profile = {"driver": "GTiff", "width": 160, "height": 150, "count": 3, "dtype": "uint8"}
    values = np.random.default_rng(0).integers(1, 255, (3, 150, 160), dtype=np.uint8)
    values[:, :, :80] //= 4
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(folder / "scene.tif", "w", **profile, **place) as file:
        file.write(values)
    features = [
        {
            "type": "Feature",
            "properties": {"class": name},
            "geometry": {"type": "Point", "coordinates": [500_000 + x, 5_000_000 - y]},
        }
        for name, x in (("dark", 300), ("bright", 1200))
        for y in (300, 700, 1100)
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    labels = {"type": "FeatureCollection", "crs": crs, "features": features}
    (folder / "labels.geojson").write_text(json.dumps(labels))
    with undrawn():
        rs_otl_here("pretrain", "images", *settings("epochs=1"), "--out", "run", cwd=folder)
    return folder


SCENE = ["scene.tif", "--encoder", "run", "--tile", 32, "--stride", 8, "--precision", "float32"]
COMMANDS = {
    "pretrain": ["pretrain", "images", *settings("epochs=1"), "--out", "new"],
    "evaluate": ["evaluate", "run", "--on", "images", "--out", "new"],
    "transfer": ["transfer", "--from", "run", "--to", "images", *settings("epochs=1"), "--out",
                 "new"],
    "export": ["export", "run", "--to", "new"],
    "embed": ["embed", *SCENE, "-o", "new.tif"],
    "embed to Parquet": ["embed", *SCENE, "-o", "new.parquet"],
    "map": ["map", *SCENE, "--labels", "labels.geojson", "-o", "new.tif"],
}  # fmt: skip


def refused(words, cwd, capfd):
    done = rs_otl_here(*words, check=2, cwd=cwd)
    lines = [line for line in done.stderr.splitlines() if line.startswith("rs-otl: ")]
    assert lines == done.stderr.splitlines()[-1:], done.stderr
    assert "Traceback" not in done.stderr
    assert not capfd.readouterr().err  # what libraries in C write
    return lines[0].removeprefix("rs-otl: ")


@pytest.mark.parametrize("size", [0, 1500])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "transfer"])
def test_a_full_disk_is_one_line(made, tmp_path, capfd, command, size):
    here = shutil.copytree(made, tmp_path / "here")
    before = {path for path in here.rglob("*") if path.is_file()}
    with largest_file(size):
        line = refused(COMMANDS[command], here, capfd)
    assert "cannot be written" in line
    assert line.startswith(("new", "runs", str(here))), line
    for path in {path for path in here.rglob("*") if path.is_file()} - before:
        # What --resume goes on with, and the cache of features.
        assert {"new", "new.tif.part", "new.parquet.part", "runs"} & set(path.parts), path
        assert not path.name.startswith("."), path
    assert not (here / "new.tif").exists()
    assert not (here / "new.parquet").exists()
    assert not (here / "new" / "encoder").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 KiB; only root can make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("command", ["pretrain", "export", "embed", "embed to Parquet"])
def test_a_small_disk_is_one_line(made, small_disk, capfd, command):
    *words, out = COMMANDS[command]
    if command != "pretrain":
        # Of what is left no output fits.
        (small_disk / "filler").write_bytes(bytes(195 * 1024))
    line = refused([*words, small_disk / out], made, capfd)
    assert line.startswith(str(small_disk / out))
    assert not list(small_disk.rglob("*.tif"))
    assert not (small_disk / "new" / "encoder").exists()


@pytest.mark.parametrize("size", [6000, 84_000])
def test_embedding_goes_on_when_there_is_room(made, tmp_path, capfd, size):
    """A limit that the embeddings reach, the plain copy, or the output."""
    here = shutil.copytree(made, tmp_path / "here")
    with largest_file(size):
        refused(COMMANDS["embed"], here, capfd)
    state = here / "new.tif.part" / "state.json"
    whole = state.read_bytes()
    for content in (b"", b"[1]", b"\xff", b"[" * 20_000):
        state.write_bytes(content)
        assert "state.json: damaged" in refused([*COMMANDS["embed"], "--resume"], here, capfd)
    state.write_bytes(whole)
    rs_otl_here(*COMMANDS["embed"], "--resume", cwd=here)
    with rasterio.open(here / "new.tif") as file:
        assert np.isfinite(file.read()).any()
    assert sorted(path.name for path in here.iterdir() if "new" in path.name) == ["new.tif"]


@pytest.mark.parametrize("command", COMMANDS)
def test_where_nothing_can_be_written_no_work_is_done(made, tmp_path, capfd, command):
    place = "/dev/null/new"
    *words, _ = COMMANDS[command]
    here = shutil.copytree(made, tmp_path / "here")
    before = sorted(here.rglob("*"))
    work = "rs_otl.models.encoder.Encoder.embed"
    with mock.patch(work, side_effect=AssertionError), mock.patch("torch.optim.SGD.step"):
        line = refused([*words, place + (".tif" if "map" in words else "")], here, capfd)
    assert line.startswith(place.rpartition("/")[0])
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("command", ["pretrain", "evaluate", "embed", "embed to Parquet"])
def test_two_processes_do_not_write_one_output(made, tmp_path, capfd, command):
    here = shutil.copytree(made, tmp_path / "here")
    out = COMMANDS[command][-1]
    folder = here / (f"{out}.part" if "embed" in command else out)
    with locked(folder):
        if "embed" in command:
            line = refused([*COMMANDS[command], "--resume"], here, capfd)
        else:
            line = refused(COMMANDS[command], here, capfd)
    assert f"still being written by process {os.getpid()} on " in line
    assert not folder.exists()


def test_without_home_in_c_locale_and_with_a_small_shared_memory(made, tmp_path):
    small = mock.Mock(free=1000)
    with mock.patch("rs_otl.runs.pretraining.shutil.disk_usage", return_value=small), undrawn():
        done = rs_otl_here(
            "pretrain", made / "images", *settings("epochs=1", "cache=none", "workers=2"),
            "--out", tmp_path / "shm",
        )  # fmt: skip
    assert done.stderr.count("/dev/shm is too small") == 1
    bare = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("XDG_")}
    bare |= {"HOME": "/dev/null", "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [
            *(PROGRAM, "pretrain", made / "images", "--recipe", "otl", *settings("epochs=1")),
            *("--out", tmp_path / "bare"),
        ],
        capture_output=True,
        env=bare,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines()] == [
        b"recipe",
        b"images:",
        b"epoch",
    ], done.stderr
    assert (tmp_path / "bare" / "encoder").is_dir()
