"""Encoders from wherever they come."""

import importlib.util
import shutil

import pytest
import timm
import torch
from huggingface_hub import constants
from random_weights import put_into_cache
from safetensors.torch import save_file
from torchgeo.models import ResNet18_Weights, resnet18

from rs_otl.errors import InputError
from rs_otl.export import export_encoder
from rs_otl.models import (
    Encoder,
    WeightsUnavailableError,
    create_encoder,
    is_weights_name,
    load_encoder,
    weights,
)
from rs_otl.models.pretrained import LITE
from rs_otl.spec import PAPER_MEAN, PAPER_STD, RGB, EncoderConfig, ImageSpec
from rs_otl.trainers import OTLTask

SPEC = ImageSpec(
    bands=RGB, units="8-bit counts", scale=255, resolution="2", mean=PAPER_MEAN, std=PAPER_STD
)
CONFIG = EncoderConfig(encoder="resnet18", image_size=32, spec=SPEC, dataset="made", epochs=3)


@pytest.fixture(scope="module")
def encoder():
    return create_encoder("resnet18", 3, seed=7).eval()


@pytest.fixture(scope="module")
def directory(encoder, tmp_path_factory):
    directory = tmp_path_factory.mktemp("loading") / "encoder"
    export_encoder(Encoder(encoder, CONFIG), directory)
    return directory


def _equal(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _save(path, encoder, prefix, **settings):
    tensors = {f"{prefix}{name}": tensor for name, tensor in encoder.state_dict().items()}
    torch.save({"hyper_parameters": settings, "state_dict": tensors}, path)
    return path


def test_a_directory_its_run_and_its_weights_are_the_same_encoder(directory, encoder):
    for source in (directory, str(directory), directory / "model.safetensors"):
        loaded = load_encoder(source)
        _equal(loaded.module, encoder)
        assert loaded.config == CONFIG
        assert not loaded.training
    assert load_encoder(directory.parent).config == CONFIG
    assert load_encoder(directory, image_size=64).config.image_size == 64


def test_an_encoder_is_returned_as_it_is(directory):
    loaded = load_encoder(directory)
    assert load_encoder(loaded, image_size=32, device="auto", precision="bf16") is loaded
    with pytest.raises(InputError, match=r"32 pixels, not 64"):
        load_encoder(loaded, image_size=64)
    with pytest.raises(InputError, match="the images are in reflectance"):
        load_encoder(loaded, units="reflectance")


@pytest.mark.parametrize(("device", "expected"), [("cpu", "float32"), ("cuda", "bf16")])
def test_the_precision_is_that_of_the_device(device, expected, directory, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(Encoder, "to", lambda self, device: self)  # there may be no such device
    assert load_encoder(directory, device=device, precision="auto").precision == expected


def test_loading_is_quiet(directory, capsys):
    load_encoder(directory)
    assert capsys.readouterr() == ("", "")


def test_other_bands_or_units_are_refused_with_both_named(directory):
    with pytest.raises(InputError, match=r"red, green, blue, the images have red, nir"):
        load_encoder(directory, bands=["red", "nir"])
    with pytest.raises(InputError, match=r"8-bit counts, the images are in reflectance"):
        load_encoder(directory, units="reflectance")


@pytest.mark.parametrize("prefix", ["encoder.", "backbone.", "model."])
def test_checkpoints_of_tasks_give_their_encoder(prefix, encoder, tmp_path, capsys):
    path = _save(tmp_path / "task.ckpt", encoder, prefix, model="resnet18", in_channels=3)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"] |= {"heads.weight": torch.rand(2), f"{prefix}fc.bias": torch.rand(9)}
    torch.save(checkpoint, path)
    loaded = load_encoder(path)
    _equal(loaded.module, encoder)
    config = loaded.config
    assert (config.encoder, config.spec.bands) == ("resnet18", RGB)
    assert "has no mean and std in hyper_parameters" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["mean", "std"])
def test_a_mean_without_std_is_refused(given, encoder, tmp_path):
    half = {"model": "resnet18", given: (0.5,) * 3}
    path = _save(tmp_path / "half.ckpt", encoder, "model.", **half)
    with pytest.raises(InputError, match=r"half\.ckpt: .*only one of mean and std; expected both"):
        load_encoder(path)


def test_a_run_of_ours_says_how_its_images_were_normalised(tmp_path, capsys):
    task = OTLTask(clusters=4, size=48, in_channels=4, mean=(0.4,) * 4, std=(0.2,) * 4, rgb=False)
    path = tmp_path / "last.ckpt"
    torch.save({"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}, path)
    loaded = load_encoder(path)
    _equal(loaded.module, task.encoder)
    assert loaded.config.image_size == 48
    assert loaded.config.spec.mean == (0.4,) * 4
    assert not capsys.readouterr().err


def test_a_checkpoint_that_lacks_tensors_or_is_of_another_kind_is_refused(encoder, tmp_path):
    short = _save(tmp_path / "short.pth", encoder, "model.", model="resnet18")
    checkpoint = torch.load(short, weights_only=True)
    del checkpoint["state_dict"]["model.conv1.weight"]
    torch.save(checkpoint, short)
    with pytest.raises(InputError, match=r"short.pth: .*resnet18.*conv1.weight is missing"):
        load_encoder(short)
    other = _save(tmp_path / "other.pth", encoder, "model.", model="resnet34")
    with pytest.raises(InputError, match=r"every tensor of resnet34: .*is missing and \d+ more"):
        load_encoder(other)
    deeper = create_encoder("resnet34", 3)
    larger = _save(tmp_path / "larger.pth", deeper, "model.", model="resnet18")
    with pytest.raises(InputError, match="is not part of it"):
        load_encoder(larger)
    bands = _save(tmp_path / "bands.pth", encoder, "model.", model="resnet18", in_channels=4)
    with pytest.raises(InputError, match=r"conv1.weight is \(64, 3, 7, 7\), not \(64, 4, 7, 7\)"):
        load_encoder(bands)


def test_weights_without_architecture_are_refused_with_advice(encoder, tmp_path):
    torch.save(encoder.state_dict(), tmp_path / "plain.pth")
    save_file(encoder.state_dict(), tmp_path / "plain.safetensors")
    for name in ("plain.pth", "plain.safetensors"):
        with pytest.raises(InputError, match=name):
            load_encoder(tmp_path / name)


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "sprung"
    torch.save({"state_dict": {}, "trap": _Payload(str(trap))}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match=r"trap.pth: .*holds code.*no code in it was run"):
        load_encoder(tmp_path / "trap.pth")
    assert not trap.exists()


def test_damaged_files_are_refused(directory, encoder, tmp_path):
    whole = _save(tmp_path / "whole.pth", encoder, "model.", model="resnet18").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>not found</html>")
    (tmp_path / "zero.pth").write_bytes(b"")
    for name in ("half.pth", "page.pth", "zero.pth"):
        with pytest.raises(InputError, match=f"{name}: expected a whole checkpoint"):
            load_encoder(tmp_path / name)
    with pytest.raises(InputError, match=r"page.pth: .*\(it is no checkpoint\)"):
        load_encoder(tmp_path / "page.pth")
    beside = tmp_path / "export"
    shutil.copytree(directory, beside)
    (beside / "encoder.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"encoder.pth: expected a whole checkpoint"):
        load_encoder(beside / "encoder.pth")  # not the weights that lie beside it
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((directory / "config.json").read_bytes())
    (broken / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(InputError, match=r"model.safetensors: expected safetensors"):
        load_encoder(broken)
    with pytest.raises(InputError, match=r"nowhere.*: nothing at"):
        load_encoder(tmp_path / "nowhere")


def test_names_of_weights_are_no_paths():
    assert is_weights_name("timm/resnet18")
    assert is_weights_name("ResNet18_Weights.SENTINEL2_RGB_MOCO")
    assert not is_weights_name("runs/pretrain/aid")
    assert not is_weights_name("aid")


def test_weights_that_cannot_be_had_say_so(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailableError, match="resnet10t: weights are not on this"):
        load_encoder("timm/resnet10t")
    with pytest.raises(InputError, match="timm has no weights"):
        load_encoder("timm/efficientnet_b0_gn")
    with pytest.raises(InputError, match=r"resnet81.*resnet18"):
        load_encoder("timm/resnet81")
    with pytest.raises(InputError, match="torchgeo has no such weights"):
        load_encoder("ResNet18_Weights.NOTHING")


def test_cached_weights_of_either_format_are_loaded_without_a_network(tmp_path, monkeypatch):
    name = "test_resnet.r160_in1k"
    made = put_into_cache([name], tmp_path, monkeypatch)[name]
    (file,) = tmp_path.rglob("model.safetensors")
    for path in (file, file.with_name("pytorch_model.bin")):
        if path != file:
            torch.save(made.state_dict(), path)
            file.unlink()
        loaded = load_encoder(f"timm/{name}")
        assert torch.equal(loaded.module.conv1[0].weight, made.conv1[0].weight)


def test_torchgeos_weights_fill_the_encoder(monkeypatch, encoder, capsys):
    name = "ResNet18_Weights.SENTINEL2_RGB_MOCO"

    def fetched(self, progress):
        print("Downloading: ...")  # as torch's hub does; standard output is for results
        return encoder.state_dict()

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fetched)
    loaded = load_encoder(name, image_size=64)
    assert capsys.readouterr() == ("", "Downloading: ...\n")
    _equal(loaded.module, encoder)
    config = loaded.config
    assert (config.image_size, config.dataset) == (64, "SSL4EO-S12")
    assert config.spec.bands == ("B4", "B3", "B2")

    def unreachable(self, progress):
        raise OSError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", unreachable)
    with pytest.raises(WeightsUnavailableError, match="SENTINEL2_RGB_MOCO: weights are not on"):
        load_encoder(name)


@pytest.mark.parametrize("name", LITE)
def test_the_baselines_come_from_their_packages(name):
    if importlib.util.find_spec(LITE[name]) is None:
        pytest.skip("the extra baseline is not installed")
    loaded = load_encoder(f"timm/{name}", image_size=64)
    encoder = loaded.module
    assert loaded.config.spec.mean == (0.485, 0.456, 0.406)
    untrained = timm.create_model(name, num_classes=0)
    assert encoder.state_dict().keys() == untrained.state_dict().keys()
    # Trained statistics, neither torch's beginnings nor zero.
    assert not torch.equal(encoder.bn1.running_mean, untrained.bn1.running_mean)
    features = loaded.embed(torch.rand(2, 3, 64, 64))
    assert not torch.allclose(features[0], features[1])


def test_an_entry_of_ours_serves_where_torchgeo_takes_its_own(directory, encoder):
    entry = weights(directory)
    assert entry.meta["in_chans"] == 3
    assert entry.meta["bands"] == list(RGB)
    made = resnet18(weights=entry, num_classes=0)
    _equal(made, encoder)


def test_the_entrys_transforms_are_the_test_view_of_raw_values(directory):
    raw = torch.randint(0, 256, (2, 3, 50, 40)).float()
    expected = load_encoder(directory).preprocess(raw / 255)
    torch.testing.assert_close(weights(directory).transforms(raw), expected, rtol=1e-4, atol=1e-4)
