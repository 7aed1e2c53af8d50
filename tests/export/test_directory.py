import json
import os
import resource
import sys

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision

import rs_otl
from rs_otl.errors import InputError
from rs_otl.export import export_encoder, loading_snippet
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import RGB, EncoderConfig


def test_timm_loads_it_with_equal_outputs(exported, images):
    encoder, _, directory = exported
    loaded = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    torch.testing.assert_close(loaded(images), encoder(images))
    assert loaded.pretrained_cfg["input_size"] == (4, 64, 64)
    assert tuple(loaded.pretrained_cfg["mean"]) == (0.4,) * 4


def test_timm_loads_it_for_other_bands_and_classes(exported):
    _, _, directory = exported
    loaded = timm.create_model(
        f"local-dir:{directory}", pretrained=True, in_chans=3, num_classes=7
    ).eval()
    assert loaded(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_rs_otl_loads_it_with_its_description(exported, images):
    encoder, config, directory = exported
    loaded = rs_otl.load_encoder(directory, bands=config.spec.bands, units="8-bit counts")
    torch.testing.assert_close(loaded(images), encoder(images))
    assert not loaded.training
    assert loaded.config == config


def test_it_does_not_claim_another_origin(exported):
    config = json.loads((exported[2] / "config.json").read_text())
    assert config["pretrained_cfg"]["tag"] == "rs_otl"
    assert not config["pretrained_cfg"].get("origin_url")


def test_the_printed_snippet_runs(exported):
    names: dict = {}
    exec(loading_snippet(exported[2]), names)
    assert names["features"].shape == (8, 512)


def test_the_umask_decides_who_may_read_it(exported, tmp_path):
    encoder, config, _ = exported
    before = os.umask(0o027)
    try:
        export_encoder(Encoder(encoder, config), tmp_path / "encoder")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode)[-3:] for path in tmp_path.rglob("*.*")}
    assert "model.safetensors" in modes
    assert set(modes.values()) == {"640"}, modes


def test_without_the_stac_extra_there_is_no_item_and_one_line_says_so(
    exported, tmp_path, monkeypatch, capsys
):
    encoder, config, _ = exported
    monkeypatch.setitem(sys.modules, "pystac", None)
    export_encoder(Encoder(encoder, config), tmp_path / "encoder")
    (line,) = capsys.readouterr().err.splitlines()
    assert "no item.json" in line
    assert "pip install '.[stac]'" in line
    assert (tmp_path / "encoder" / "README.md").is_file()
    assert not (tmp_path / "encoder" / "item.json").exists()


def test_nothing_is_overwritten(exported):
    encoder, config, directory = exported
    with pytest.raises(InputError, match="exists already"):
        export_encoder(Encoder(encoder, config), directory)


@pytest.fixture
def largest_file():
    """Limits the size of files, as a full disk does to all."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failure_leaves_nothing_behind(exported, tmp_path, largest_file):
    encoder, config, directory = exported
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export_encoder(Encoder(encoder, config), tmp_path / "file" / "encoder")
    smaller, larger = (
        (directory / name).stat().st_size for name in ("model.safetensors", "encoder.pth")
    )
    assert smaller < larger
    for size in (smaller - 1, larger - 1):  # either is the first that does not fit
        largest_file(size)
        with pytest.raises(InputError, match=r"encoder: cannot be written .*File too large"):
            export_encoder(Encoder(encoder, config), tmp_path / "encoder")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_directory_holds_all_that_it_promises(exported, lite):
    files = {"config.json", "model.safetensors", "encoder.pth", "item.json", "README.md"}
    assert {path.name for path in lite[2].iterdir()} == files
    assert {path.name for path in exported[2].iterdir()} == files | {"model.onnx"}


@pytest.mark.parametrize("which", ["exported", "lite"])
def test_the_checkpoint_is_plain_and_serves_timm(which, request):
    encoder, config, directory = request.getfixturevalue(which)
    checkpoint = torch.load(directory / "encoder.pth", weights_only=True)
    assert checkpoint["hyper_parameters"] == {"model": config.encoder}
    assert EncoderConfig.model_validate(checkpoint["rs_otl"]) == config
    weights = encoder.state_dict()
    assert checkpoint["state_dict_ema"].keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(checkpoint["state_dict_ema"][name], tensor)
        assert torch.equal(checkpoint["state_dict"][f"model.{name}"], tensor)
    size = (directory / "model.safetensors").stat().st_size
    assert (directory / "encoder.pth").stat().st_size < 1.1 * size
    bands = len(config.spec.bands)
    loaded = timm.create_model(
        config.encoder,
        num_classes=0,
        in_chans=bands,
        checkpoint_path=str(directory / "encoder.pth"),
    ).eval()
    batch = torch.rand(2, bands, 64, 64)
    torch.testing.assert_close(loaded(batch), encoder(batch))


def test_timm_takes_the_checkpoint_with_a_classifier_too(exported):
    encoder, _, directory = exported
    overlay = {"file": str(directory / "encoder.pth")}
    loaded = timm.create_model(
        "resnet18", pretrained=True, pretrained_cfg_overlay=overlay, in_chans=4, num_classes=7
    )
    assert torch.equal(loaded.layer4[1].conv2.weight, encoder.layer4[1].conv2.weight)


def test_timm_gives_feature_maps(exported, images):
    encoder, _, directory = exported
    loaded = timm.create_model(f"local-dir:{directory}", pretrained=True, features_only=True)
    maps = loaded.eval()(images)
    assert [m.shape[1] for m in maps] == [64, 64, 128, 256, 512]
    torch.testing.assert_close(maps[-1], encoder.forward_features(images))


def test_segmentation_models_pytorch_takes_the_plain_weights(exported, images):
    encoder, _, directory = exported
    weights = torch.load(directory / "encoder.pth", weights_only=True)["state_dict_ema"]
    unet = smp.Unet("resnet18", encoder_weights=None, in_channels=4)
    unet.encoder.load_state_dict(weights)
    maps = unet.encoder.eval()(images)
    torch.testing.assert_close(maps[-1], encoder.forward_features(images))


def test_torchvision_takes_the_plain_weights(exported, images):
    encoder, _, directory = exported
    weights = torch.load(directory / "encoder.pth", weights_only=True)["state_dict_ema"]
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    model.conv1 = torch.nn.Conv2d(4, 64, 7, stride=2, padding=3, bias=False)
    model.load_state_dict(weights)
    torch.testing.assert_close(model.eval()(images), encoder(images))


def test_other_bands_or_units_are_refused_by_name(exported):
    _, _, directory = exported
    with pytest.raises(InputError, match=r"red, green, blue, nir.*swir"):
        rs_otl.load_encoder(directory, bands=["swir"])
    with pytest.raises(InputError, match=r"8-bit counts.*reflectance"):
        rs_otl.load_encoder(directory, units="reflectance")


def _broken(exported, tmp_path, name, content):
    directory = tmp_path / "broken"
    directory.mkdir()
    for file in exported[2].iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    if content is None:
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(content)
    return directory


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"encoder directory with a config\.json"),
        ("config.json", b"{", r"config\.json: expected JSON"),
        ("config.json", b'{"architecture": "resnet18"}', r"description of an rs-otl encoder"),
        ("model.safetensors", None, r"model\.safetensors"),
        ("model.safetensors", b"\x10\x00", r"model\.safetensors"),
    ],
)
def test_a_broken_directory_is_named(exported, tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        rs_otl.load_encoder(_broken(exported, tmp_path, name, content))


def test_weights_that_do_not_fill_the_encoder_are_refused(exported, described, tmp_path):
    other = tmp_path / "other"
    export_encoder(Encoder(create_encoder("resnet34", 4), described("resnet34")), other)
    weights = (other / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="every tensor"):
        rs_otl.load_encoder(_broken(exported, tmp_path, "model.safetensors", weights))


def test_alexnet_is_loaded_by_timm_once_its_name_is_known(tmp_path, described):
    config = described("alexnet_bn", RGB, "cifar10@200")
    export_encoder(Encoder(create_encoder("alexnet_bn", 3), config), tmp_path / "alexnet")
    snippet = loading_snippet(tmp_path / "alexnet")
    card = (tmp_path / "alexnet" / "README.md").read_text()
    assert "CIFAR-10 (Krizhevsky" in card
    for text in (snippet, card):
        assert "import rs_otl.models  # adds alexnet_bn to timm's models\nimport timm" in text
    names = {}
    exec(snippet, names)
    assert names["encoder"].num_features == 4096
