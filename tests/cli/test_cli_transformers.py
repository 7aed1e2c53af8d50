"""DINOv2 and DINOv3 by the command line, at sizes that are not their own."""

import json

import pytest
import timm
import torch
from command_line import draw_folder, rs_otl_here, settings
from geo_scenes import write
from random_weights import put_into_cache, shallow
from test_geo_map import stripes

from rs_otl.models import load_encoder

DINO2, DINO3 = "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("transformers")
    draw_folder(place / "images", images=8)
    write(place / "scene.tif", stripes())
    with pytest.MonkeyPatch.context() as patch:
        shallow(patch)
        put_into_cache([DINO2, DINO3], place / "hub", patch)
        yield place


@pytest.mark.parametrize(("name", "size"), [(DINO2, 56), (DINO3, 64)])
def test_adapted_evaluated_embedded_and_exported(place, name, size):
    adapted = place / "adapted" / name
    changes = [f"encoder={name}", f"image_size={size}", "epochs=1", "clusters=null", "pool=mean"]
    rs_otl_here(
        *("pretrain", place / "images", "--recipe", "adapt", "--init", f"timm/{name}"),
        *(*settings(*changes), "--out", adapted),
        cwd=place,
    )
    evaluated = rs_otl_here(
        *("evaluate", adapted, "--on", "images", "--image-size", 2 * size, "--json"), cwd=place
    )
    rows = json.loads(evaluated.stdout)["encoders"]
    assert [row["image_size"] for row in rows] == [2 * size] * 3
    embed = (
        "embed",
        "scene.tif",
        "--image-size",
        size,
        "--stride",
        32,
        "--pool",
        "mean",
        "--tile",
        32,
    )
    for encoder, out in ((adapted, "adapted.tif"), (f"timm/{name}", "frozen.tif")):
        rs_otl_here(*embed, "--encoder", encoder, "-o", f"{name}-{out}", cwd=place)
    exported = place / f"{name}-exported"
    rs_otl_here("export", adapted, "--to", exported, cwd=place)
    images = torch.rand(2, 3, size, size)
    in_timm = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(in_timm(images), load_encoder(adapted)(images))


@pytest.mark.parametrize(("name", "sizes"), [(DINO2, (126, 224)), (DINO3, (128, 224))])
def test_frozen_at_other_sizes(place, name, sizes):
    for size in sizes:
        sized = ("--image-size", size)
        out = place / f"{name}-{size}"
        rs_otl_here("export", f"timm/{name}", *sized, "--to", out, cwd=place)
        assert load_encoder(out).config.image_size == size
        rs_otl_here(
            *(
                "embed",
                "scene.tif",
                "--encoder",
                out,
                "--tile",
                64,
                "--stride",
                64,
                "-o",
                f"{out}.tif",
            ),
            cwd=place,
        )


def test_a_size_between_patches_is_refused_with_its_neighbours(place):
    done = rs_otl_here(
        *("embed", "scene.tif", "--encoder", f"timm/{DINO2}", "--image-size", 64, "-o", "no.tif"),
        cwd=place,
        check=2,
    )
    assert done.stderr.endswith("multiples of 14 pixels, not of 64: expected image_size=56 or 70\n")
    assert len(done.stderr.splitlines()) == 1
