"""`rs-otl export`, on a run made of random weights."""

import json

import pytest
import timm
import torch
import yaml
from command_line import rs_otl_here

from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import PAPER_MEAN, PAPER_STD, RGB, EncoderConfig, ImageSpec


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "run"
    spec = ImageSpec(
        bands=RGB, units="8-bit counts", scale=255, resolution="2", mean=PAPER_MEAN, std=PAPER_STD
    )
    config = EncoderConfig(encoder="resnet18", image_size=32, spec=spec, dataset="aid", epochs=2)
    export_encoder(Encoder(create_encoder("resnet18", 3), config), directory / "encoder")
    (directory / "recipe.yaml").write_text(yaml.safe_dump({"dataset": "aid", "lr": 0.0123}))
    return directory


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A run exported with everything, and what the command printed."""
    directory = tmp_path_factory.mktemp("to") / "my_encoder"
    return directory, rs_otl_here("export", run, "--to", directory, "--onnx", "--verify")


def test_it_prints_the_snippet_and_a_row_for_each_loader(exported):
    directory, done = exported
    snippet = done.stdout.partition("┏")[0]
    names: dict = {}
    exec(snippet, names)
    assert names["features"].shape == (8, 512)
    for loader in ("timm checkpoint_path", "SemanticSegmentationTask", "onnxruntime"):
        assert loader in done.stdout
    assert "unequal" not in done.stdout
    assert str(directory / "README.md") in done.stderr


def test_item_and_card_have_the_recipe(exported):
    directory, _ = exported
    item = json.loads((directory / "item.json").read_text())
    assert item["properties"]["mlm:hyperparameters"]["lr"] == 0.0123
    assert "lr: 0.0123" in (directory / "README.md").read_text()


def test_verify_alone_checks_an_export_and_fails_if_a_tool_loads_other_weights(exported):
    directory, _ = exported
    checkpoint = torch.load(directory / "encoder.pth", weights_only=True)
    checkpoint["state_dict_ema"]["conv1.weight"] += 1
    torch.save(checkpoint, directory / "encoder.pth")
    done = rs_otl_here("export", directory, "--verify", "--json", check=2)
    assert "loaders would not use the encoder" in done.stderr
    report = json.loads(done.stdout)
    assert report["encoder"] == str(directory)
    results = {check["loader"]: check["result"] for check in report["checks"]}
    assert results["timm local-dir"] == "equal"
    assert results["timm checkpoint_path"] == "unequal"
    assert timm.create_model(f"local-dir:{directory}", pretrained=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "--to DIR"), (["--onnx", "--verify"], "--to DIR"), (["--to", "{run}"], "exists already")],
)
def test_wrong_use_is_one_line(run, arguments, message):
    done = rs_otl_here("export", run, *(word.format(run=run) for word in arguments), check=2)
    assert message in done.stderr.splitlines()[-1]
    assert not done.stdout
