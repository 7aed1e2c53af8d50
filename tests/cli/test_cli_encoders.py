"""What `rs-otl encoders` lists, and the page of it."""

import json
from importlib import metadata

import pytest
from command_line import rs_otl_here
from geo_scenes import make_encoder
from random_weights import put_into_cache, shallow

from rs_otl.models import load_encoder

PAGE = "encoders.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("encoders")
    run = place / "runs" / "pretrain" / "field"
    make_encoder(run / "encoder")
    (run / "recipe.yaml").write_text("dataset: field\n")
    make_encoder(place / "exported")
    return place


def test_everything_that_can_be_named_is_listed_and_loads(place, tmp_path, monkeypatch):
    shallow(monkeypatch)
    put_into_cache(["vit_small_patch16_dinov3.lvd1689m"], tmp_path / "hub", monkeypatch)
    listed = json.loads(rs_otl_here("encoders", "--json", cwd=place).stdout)
    by_name = {one["name"]: one for one in listed}
    assert list(by_name)[:2] == ["runs/pretrain/field", "exported"]
    assert {one["kind"] for one in listed} == {"run", "exported", "timm", "torchgeo"}
    dino = by_name["timm/vit_small_patch16_dinov3.lvd1689m"]
    assert (dino["licence"], dino["image_size"], dino["here"]) == ("dinov3-license", 256, True)
    assert not by_name["ResNet18_Weights.SENTINEL2_ALL_MOCO"]["here"]
    assert len(by_name["ResNet18_Weights.SENTINEL2_ALL_MOCO"]["bands"]) == 13
    assert by_name["Aurora_Weights.HRES_T0_AURORA"]["instead"] == "weather model"
    assert by_name["CROMABase_Weights.CROMA_VIT@sentinel-1"]["bands"] == ["VV", "VH"]
    monkeypatch.chdir(place)
    for one in listed:
        if one["here"]:
            config = load_encoder(one["name"]).config
            assert config.image_size == one["image_size"]
            assert list(config.spec.bands) == one["bands"]


def test_the_table_names_them_and_a_damaged_one_is_skipped(place):
    (place / "broken").mkdir(exist_ok=True)
    (place / "broken" / "config.json").write_text("{}")
    told = rs_otl_here("encoders", cwd=place)
    assert told.stderr.startswith("skipped an encoder: broken/config.json: expected")
    assert told.stderr.splitlines()[-1].startswith("and timm/NAME for every NAME of timm.list_pre")
    assert "runs/pretrain/field " in told.stdout
    assert "ResNet50_Weights.FMOW_RGB_GASSL" in told.stdout
    missing = rs_otl_here("encoders", "nowhere", cwd=place, check=2)
    assert missing.stderr == (
        "rs-otl: nowhere: no such folder; expected one that holds runs or exports\n"
    )


def test_the_page_has_the_table_that_the_command_prints(place, request):
    page = (request.config.rootpath / "docs" / PAGE).read_text()
    version = metadata.version("torchgeo")
    if f"torchgeo {version}" not in page:
        pytest.skip(f"the page is of another torchgeo than {version}")
    assert rs_otl_here("encoders", "--markdown", cwd=place).stdout in page
