"""DINOv2 and DINOv3 by the command line, at sizes that are not their own."""

import json

import numpy as np
import pytest
import rasterio
import timm
import torch
from command_line import draw_folder, rs_otl_here, settings, undrawn
from geo_scenes import write
from random_weights import put_into_cache, shallow
from test_geo_map import stripes

from rs_otl.models import load_encoder

DINO2, DINO3 = "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"
SHORT = ("epochs=1", "clusters=null", "batch_size=4")
EMBED = ("--tile", 64, "--stride", 64, "--precision", "float32")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("transformers")
    draw_folder(place / "images", classes=2, images=4)
    write(place / "scene.tif", stripes())
    with pytest.MonkeyPatch.context() as patch:
        shallow(patch)
        put_into_cache([DINO2, DINO3], place / "hub", patch)
        with undrawn():
            yield place


@pytest.mark.parametrize(
    ("name", "size"),
    [(DINO2, 70), (DINO2, 126), (DINO2, 224), *((DINO3, n) for n in (64, 128, 224))],
)
def test_adapted_evaluated_embedded_and_exported(place, name, size):
    adapted = place / f"{name}-{size}"
    pool = "mean" if size < 100 else "cls"
    changes = (f"encoder={name}", f"image_size={size}", f"pool={pool}", *SHORT)
    rs_otl_here(
        *("pretrain", "images", "--recipe", "adapt", "--init", f"timm/{name}"),
        *(*settings(*changes), "--out", adapted),
        cwd=place,
    )
    done = rs_otl_here("evaluate", adapted, "--on", "images", "--json", cwd=place)
    assert [row["image_size"] for row in json.loads(done.stdout)["encoders"]] == [size] * 3
    rs_otl_here(
        "embed", "scene.tif", "--encoder", adapted, *EMBED, "-o", f"{adapted}.tif", cwd=place
    )
    exported, frozen = (place / f"{name}-{size}-{kind}" for kind in ("exported", "frozen"))
    rs_otl_here("export", adapted, "--to", exported, cwd=place)
    rs_otl_here("export", f"timm/{name}", "--image-size", size, "--to", frozen, cwd=place)
    images = torch.rand(2, 3, size, size)
    for source, written in ((adapted, exported), (frozen, frozen)):
        loaded = load_encoder(source)
        assert loaded.config.image_size == size
        in_timm = timm.create_model(f"local-dir:{written}", pretrained=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(in_timm(images), loaded(images))


def test_maps_and_hits_are_of_the_pool_asked_for(place, tmp_path):
    encoder = ("--encoder", f"timm/{DINO3}", "--image-size", 64, *EMBED)
    with rasterio.open(place / "scene.tif") as file:
        places = [file.xy(row, column) for row, column in ((40, 40), (90, 150))]
    rows = (f"{x},{y},{kind}" for kind, (x, y) in zip("ab", places, strict=True))
    (tmp_path / "labels.csv").write_text("\n".join(("x,y,class", *rows)))
    query = ",".join(map(str, places[0]))
    scores = {}
    for pool in ("cls", "mean"):
        asked = (*encoder, "--pool", pool)
        scene = place / "scene.tif"
        rs_otl_here("embed", scene, *asked, "-o", f"{pool}.tif", cwd=tmp_path)
        # Embeddings know how they were pooled, a scene is asked anew.
        for number, source in enumerate(((scene, *asked), (f"{pool}.tif",))):
            rs_otl_here(
                *("search", *source, "--query", query, "-n", 3, "-o", f"{pool}{number}.geojson"),
                cwd=tmp_path,
            )
            out = f"{pool}{number}-map.tif"
            rs_otl_here("map", *source, "--labels", "labels.csv", "-o", out, cwd=tmp_path)
        of_scene, of_file = (
            [hit["properties"]["score"] for hit in json.loads(path.read_text())["features"]]
            for path in sorted(tmp_path.glob(f"{pool}?.geojson"))
        )
        np.testing.assert_allclose(of_scene, of_file, atol=1e-5)
        scores[pool] = of_scene
        maps = [rasterio.open(tmp_path / f"{pool}{number}-map.tif") for number in (0, 1)]
        np.testing.assert_array_equal(*(file.read() for file in maps))
    assert not np.allclose(scores["cls"], scores["mean"], atol=1e-3)
    line = rs_otl_here(
        *(
            "search",
            "mean.tif",
            "--query",
            query,
            *encoder[:4],
            "--pool",
            "cls",
            "-o",
            "no.geojson",
        ),
        check=2,
        cwd=tmp_path,
    ).stderr
    assert "mean.tif: made with" in line


def test_transferred(place):
    words = ("transfer", "--from", f"timm/{DINO3}", "--to", "images", "--out", "transferred")
    done = rs_otl_here(
        *(*words, "--json"),
        *settings("image_size=64", "epochs=1", "clusters=2", "batch_size=4", "views=2"),
        cwd=place,
    )
    rows = {row["encoder"]: row for row in json.loads(done.stdout)["encoders"]}
    assert {"transferred", "source, frozen", "supervised", "untrained"} <= set(rows)
    config = load_encoder(place / "transferred").config
    assert (config.encoder, config.image_size) == (DINO3, 64)
    rs_otl_here(
        *("embed", "scene.tif", "--encoder", "transferred", *EMBED, "-o", "transferred.tif"),
        cwd=place,
    )


def test_a_size_between_patches_is_refused_with_its_neighbours(place):
    done = rs_otl_here(
        *("embed", "scene.tif", "--encoder", f"timm/{DINO2}", "--image-size", 64, "-o", "no.tif"),
        cwd=place,
        check=2,
    )
    assert "multiple of 14 pixels, not 64: expected --image-size 56 or 70" in done.stderr
    assert len(done.stderr.splitlines()) == 1
