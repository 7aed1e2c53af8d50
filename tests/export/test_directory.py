import json

import pytest
import timm
import torch

import rs_otl
from rs_otl.errors import InputError
from rs_otl.export import export_encoder, loading_snippet
from rs_otl.models import create_encoder
from rs_otl.spec import EncoderConfig, ImageSpec


def _config(bands=("red", "green", "blue", "nir")):
    spec = ImageSpec(
        bands=bands,
        units="8-bit counts",
        scale=255,
        resolution="10",
        mean=(0.4,) * len(bands),
        std=(0.2,) * len(bands),
    )
    return EncoderConfig(encoder="resnet18", image_size=64, spec=spec, dataset="made", epochs=3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "encoder"
    encoder = create_encoder("resnet18", 4, seed=5).eval()
    encoder.to(memory_format=torch.channels_last)  # as training leaves it
    export_encoder(encoder, _config(), directory)
    return encoder, directory


@pytest.fixture(scope="module")
def images():
    images = torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last)


def test_timm_loads_it_with_equal_outputs(exported, images):
    encoder, directory = exported
    loaded = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    torch.testing.assert_close(loaded(images), encoder(images))
    assert loaded.pretrained_cfg["input_size"] == (4, 64, 64)
    assert tuple(loaded.pretrained_cfg["mean"]) == (0.4,) * 4


def test_timm_loads_it_for_other_bands_and_classes(exported):
    _, directory = exported
    loaded = timm.create_model(
        f"local-dir:{directory}", pretrained=True, in_chans=3, num_classes=7
    ).eval()
    assert loaded(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_rs_otl_loads_it_with_its_view(exported, images):
    encoder, directory = exported
    loaded, view = rs_otl.load_encoder(directory, bands=_config().spec.bands, units="8-bit counts")
    torch.testing.assert_close(loaded(images), encoder(images))
    assert not loaded.training
    assert view.size == 64


def test_it_does_not_claim_another_origin(exported):
    config = json.loads((exported[1] / "config.json").read_text())
    assert config["pretrained_cfg"]["tag"] == "rs_otl"
    assert not config["pretrained_cfg"].get("origin_url")


def test_the_printed_snippet_runs(exported):
    names: dict = {}
    exec(loading_snippet(exported[1]), names)
    assert names["encoder"](torch.rand(1, 4, 64, 64)).shape == (1, 512)


def test_nothing_is_overwritten(exported):
    encoder, directory = exported
    with pytest.raises(InputError, match="exists already"):
        export_encoder(encoder, _config(), directory)


def test_a_failure_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export_encoder(create_encoder("resnet18", 4), _config(), tmp_path / "file" / "encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_other_bands_or_units_are_refused_by_name(exported):
    _, directory = exported
    with pytest.raises(InputError, match=r"red, green, blue, nir.*swir"):
        rs_otl.load_encoder(directory, bands=["swir"])
    with pytest.raises(InputError, match=r"8-bit counts.*reflectance"):
        rs_otl.load_encoder(directory, units="reflectance")


def _broken(exported, tmp_path, name, content):
    directory = tmp_path / "broken"
    directory.mkdir()
    for file in exported[1].iterdir():
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
        ("config.json", b"{", r"description of an rs-otl encoder"),
        ("config.json", b'{"architecture": "resnet18"}', r"description of an rs-otl encoder"),
        ("model.safetensors", None, r"model\.safetensors"),
        ("model.safetensors", b"\x10\x00", r"model\.safetensors"),
    ],
)
def test_a_broken_directory_is_named(exported, tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        rs_otl.load_encoder(_broken(exported, tmp_path, name, content))


def test_weights_that_do_not_fill_the_encoder_are_refused(exported, tmp_path):
    other = tmp_path / "other"
    export_encoder(
        create_encoder("resnet34", 4), _config().model_copy(update={"encoder": "resnet34"}), other
    )
    weights = (other / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="every tensor"):
        rs_otl.load_encoder(_broken(exported, tmp_path, "model.safetensors", weights))
