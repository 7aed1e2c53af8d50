"""`rs-otl doctor RUN|FILE` says what is wrong, and what can be saved."""

import json
import shutil

import numpy as np
import pytest
import rasterio
import torch
from command_line import draw_folder, rs_otl_here, settings
from drawn_products import save, sentinel_2, zipped
from rasterio import Affine
from safetensors.torch import load_file, save_file

from rs_otl.export import export_encoder
from rs_otl.models import Encoder, load_encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with images, a finished run, a scene, and embeddings of it in two formats."""
    folder = tmp_path_factory.mktemp("made")
    draw_folder(folder / "images", images=8)
    profile = {"driver": "GTiff", "width": 90, "height": 80, "count": 3, "dtype": "uint8"}
    values = np.random.default_rng(0).integers(1, 255, (3, 80, 90), dtype=np.uint8)
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(folder / "scene.tif", "w", **profile, **place) as file:
        file.write(values)
    rs_otl_here("pretrain", "images", *settings("epochs=1"), "--out", "run", cwd=folder)
    tiles = ["--encoder", "run", "--tile", 32, "--precision", "float32"]
    for name in ("embeddings.tif", "embeddings.parquet"):
        rs_otl_here("embed", "scene.tif", *tiles, "-o", name, cwd=folder)
    return folder


@pytest.fixture
def here(made, tmp_path):
    shutil.copytree(made, tmp_path / "here")
    return tmp_path / "here"


def doctor(here, path, check=0):
    done = rs_otl_here("doctor", path, "--json", check=check, cwd=here)
    found = json.loads(done.stdout)
    return found[path], found["problems"]


@pytest.mark.parametrize(
    "path",
    [
        "run",
        "run/encoder",
        "run/encoder/encoder.pth",
        "run/encoder/model.safetensors",
        "run/checkpoints/last.ckpt",
        "scene.tif",
        "embeddings.tif",
        "embeddings.parquet",
    ],
)
def test_what_is_sound_has_no_problems(made, path):
    found, problems = doctor(made, path)
    assert problems == []
    assert found
    done = rs_otl_here("doctor", path, cwd=made)
    assert done.stdout.splitlines()[-1] == "no problems"


def test_a_sound_run_is_described(made):
    found, _ = doctor(made, "run")
    assert found["images"] == "unchanged since training"
    assert found["versions"] == "as installed"
    assert found["metrics.csv"] == "1 epoch"
    assert found["checkpoints/last.ckpt"] == "epoch 1"
    assert any("cores" in line for line in found.values())


def test_an_encoder_that_was_trained_elsewhere_has_no_number_of_epochs(made, tmp_path):
    encoder = load_encoder(made / "run")
    config = encoder.config.model_copy(update={"epochs": None})
    export_encoder(Encoder(encoder.module, config), tmp_path / "out")
    assert doctor(tmp_path, "out")[0]["trained on"] == f"{config.dataset}, elsewhere"


def test_a_damaged_checkpoint_leaves_the_encoder(here):
    path = here / "run" / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    (problem,) = doctor(here, "run", check=2)[1]
    assert "last.ckpt" in problem
    assert "delete it to train from the start; the encoder of the run can be used" in problem


def test_a_damaged_encoder_is_written_again_from_the_checkpoint(here):
    path = here / "run" / "encoder" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])
    (problem,) = doctor(here, "run", check=2)[1]
    assert "--resume writes it again" in problem
    shutil.rmtree(path.parent)
    rs_otl_here("pretrain", "images", "--resume", "--out", "run", cwd=here)
    assert path.read_bytes() == whole


def test_changed_images_are_named(here):
    (here / "images" / "class0" / "00.png").unlink()
    found, (problem,) = doctor(here, "run", check=2)
    assert found["images"] == "changed since training"
    assert "images" in problem


def test_a_finished_run_does_not_need_its_images(here):
    shutil.rmtree(here / "images")
    found, problems = doctor(here, "run")
    assert found["images"].startswith("not compared")
    assert problems == []


@pytest.mark.parametrize("name", ["recipe.yaml", "imagery.json", "provenance.json"])
def test_a_damaged_file_of_a_run_is_named(here, name):
    (here / "run" / name).write_text("[")
    (problem,) = doctor(here, "run", check=2)[1]
    assert f"run/{name}" in problem


def test_weights_that_are_not_finite_are_named(here):
    path = here / "run" / "encoder" / "model.safetensors"
    weights = load_file(path)
    name = min(weights)
    weights[name][0] = torch.nan
    save_file(weights, path)
    (problem,) = doctor(here, "run/encoder", check=2)[1]
    assert f"{name} has values that are not finite" in problem


@pytest.mark.parametrize(
    "name", ["run/encoder/encoder.pth", "scene.tif", "embeddings.tif", "embeddings.parquet"]
)
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_file_that_was_cut_is_named(here, name, share):
    content = (here / name).read_bytes()
    (here / name).write_bytes(content[: int(len(content) * share)])
    (problem,) = doctor(here, name, check=2)[1]
    assert name in problem


def test_there_must_be_something_to_examine(made):
    assert "no such file" in rs_otl_here("doctor", "nothing", check=2, cwd=made).stderr


def test_a_product_is_described_as_commands_read_it(tmp_path):
    safe = sentinel_2(tmp_path, side=60)
    for path in (safe, zipped(safe), safe / "MTD_MSIL2A.xml"):
        found, problems = doctor(tmp_path, str(path))
        assert not problems
        assert found["scene"] == "60 x 60 pixels, float32"
        assert "b04 (red)" in found["bands"]
        assert found["values"].startswith("surface reflectance x 10,000, from ")
        assert (found["CRS"], found["pixels"]) == ("EPSG:32632", "10 x 10")
    assert doctor(tmp_path, str(safe))[0]["files"] == "12"
    save(tmp_path / "x_B04.tif", np.full((1, 30, 30), 5, np.uint16), 10)
    save(tmp_path / "x_B08.tif", np.full((1, 30, 30), 9, np.uint16), 10)
    found, _ = doctor(tmp_path, str(tmp_path / "x_B*.tif"))
    assert found["values"] == "16-bit counts, from 5 to 9; no units; give them with --units"


def test_folders_that_are_none_of_what_it_takes_are_refused_in_a_line(made, tmp_path):
    words = ("doctor", "images")
    line = rs_otl_here(*words, check=2, cwd=made).stderr
    assert "images: holds none of these; expected a run" in line
    assert "`rs-otl datasets --check images`" in line
    safe = sentinel_2(tmp_path, side=60)
    next(safe.rglob("*_B8A_20m.jp2")).write_bytes(b"no image")
    (problem,) = doctor(tmp_path, str(safe), check=2)[1]
    assert "band B8A cannot be opened" in problem
