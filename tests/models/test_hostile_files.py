"""Whatever an encoder's files say, loading ends in one line that names the file, and soon."""

import json
import shutil

import pytest
import timm
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rs_otl.errors import InputError
from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder, load_encoder
from rs_otl.spec import RGB, EncoderConfig, ImageSpec

SPEC = ImageSpec(
    bands=RGB, units="8-bit counts", scale=255, resolution=None, mean=(0.5,) * 3, std=(0.2,) * 3
)
CONFIG = EncoderConfig(encoder="resnet18", image_size=32, spec=SPEC, dataset="made", epochs=3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hostile") / "encoder"
    export_encoder(Encoder(create_encoder("resnet18", 3), CONFIG), directory)
    return directory


@pytest.fixture
def directory(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "encoder")


def refused(path, name):
    """Assert that loading ends in one printable line that names the file; return it."""
    with pytest.raises(InputError) as caught:
        load_encoder(path)
    line = str(caught.value)
    assert name in line
    assert line.isprintable()
    return line


def _describe(directory, change):
    path = directory / "config.json"
    values = json.loads(path.read_text())
    change(values["rs_otl"])
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("value", [0, -1, 10**6, 1e20, 10**30, "big", None, [32], 32.5])
def test_an_image_size_that_is_none(value, directory):
    _describe(directory, lambda config: config.update(image_size=value))
    assert "image_size" in refused(directory, "config.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", None),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, None]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("mean", [0.5, 0.5, float("inf")]),
        ("std", [0.2, 0.2, 0]),
        ("std", [0.2, 0.2, -1]),
        ("std", [0.2, 0.2, float("inf")]),
        ("scale", 0),
        ("scale", float("nan")),
        ("scale", "255 of them"),
        ("bands", []),
        ("bands", "rgb"),
        ("bands", ["red", "green", "bl\nue"]),
        ("bands", ["red", "green", "\x1b[31mblue"]),
        ("bands", ["red", "green", "\ud800"]),
        ("bands", ["red", "green", ""]),
        ("bands", ["red", "green", "blue" * 100]),
        ("bands", ["red", "green", 3]),
        ("bands", ["band"] * 5000),
        ("units", "counts\r\n"),
        ("units", ["counts"]),
        ("resolution", 3),
        ("unknown", 1),
    ],
)
def test_a_specification_that_is_none(key, value, directory):
    _describe(directory, lambda config: config["spec"].update({key: value}))
    refused(directory, "config.json")


@pytest.mark.parametrize("encoder", ["", "resnet\n18", "\ud800", 18, "resnet18" * 100, "../../etc"])
def test_an_architecture_that_is_none(encoder, directory):
    _describe(directory, lambda config: config.update(encoder=encoder))
    refused(directory, "encoder")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"rs_otl": null}',
        b'{"rs_otl": []}',
        b"\xff\xfe\x00",
        b"9" * 5000,
        b"[" * 100_000,
        b'{"rs_otl": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_description_that_is_none(text, directory):
    (directory / "config.json").write_bytes(text)
    refused(directory, "config.json")


def test_the_name_of_a_data_set_is_printed_whatever_it_holds(directory):
    _describe(directory, lambda config: config.update(dataset="a\nb\ud800[red]"))
    assert load_encoder(directory).config.dataset == "a\ufffdb\ufffd[red]"


@pytest.mark.parametrize("architecture", ["vit_giant_patch14_dinov2", "resnet50"])
def test_nothing_is_allocated_for_weights_that_are_not_there(architecture, directory, monkeypatch):
    """A description of a few bytes must not ask for gigabytes."""
    _describe(directory, lambda config: config.update(encoder=architecture))
    devices = []
    create_model = timm.create_model

    def watched(*arguments, **options):
        devices.append(torch.get_default_device().type)
        return create_model(*arguments, **options)

    monkeypatch.setattr(timm, "create_model", watched)
    assert "is missing" in refused(directory, "model.safetensors")
    assert devices == ["meta"]  # which has shapes and no memory


def _set(name, value):
    def change(weights):
        weights[name] = value

    return change


CONV = "conv1.weight"
WRONG_TENSORS = {
    "int keys": lambda weights: weights.update({3: torch.zeros(2)}),
    "bytes key": lambda weights: weights.update({b"conv": torch.zeros(2)}),
    "odd key": lambda weights: weights.update({"model.a\nb\ud800": torch.zeros(2)}),
    "text": _set(CONV, "weights"),
    "number": _set(CONV, 3.0),
    "nothing": _set(CONV, None),
    "sparse": _set(CONV, torch.zeros(64, 3, 7, 7).to_sparse()),
    "meta": _set(CONV, torch.empty(64, 3, 7, 7, device="meta")),
    "integers": _set(CONV, torch.zeros(64, 3, 7, 7, dtype=torch.int64)),
    "complex": _set(CONV, torch.zeros(64, 3, 7, 7, dtype=torch.complex64)),
    "other shape": _set(CONV, torch.zeros(64, 4, 7, 7)),
    "no shape": _set(CONV, torch.tensor(1.0)),
    "not finite": _set(CONV, torch.full((64, 3, 7, 7), float("nan"))),
    "infinite": _set(CONV, torch.full((64, 3, 7, 7), float("inf"))),
    "expanded": _set(CONV, torch.zeros(1).expand(64, 3, 7, 7)),
    "huge": _set(CONV, torch.zeros(1).expand(10**9, 10**3, 7, 7)),
    "floats for counts": _set("bn1.num_batches_tracked", torch.tensor(1.0)),
}


@pytest.mark.parametrize("case", WRONG_TENSORS)
def test_weights_that_are_none(case, exported, tmp_path):
    checkpoint = torch.load(exported / "encoder.pth", weights_only=True)
    weights = checkpoint["state_dict_ema"]
    WRONG_TENSORS[case](weights)
    checkpoint["state_dict"] = {
        f"model.{name}" if isinstance(name, str) and "model" not in name else name: value
        for name, value in weights.items()
    }
    torch.save(checkpoint, tmp_path / "wrong.pth")
    refused(tmp_path / "wrong.pth", "wrong.pth")


@pytest.mark.parametrize(
    "hyper_parameters",
    [
        {"model": "resnet18", "in_channels": 10**9},
        {"model": "resnet18", "in_channels": 1000},
        {"model": "resnet18", "in_channels": 0},
        {"model": "resnet18", "in_channels": "three"},
        {"model": "resnet18", "size": 10**20},
        {"model": "resnet18", "size": 0},
        {"model": "resnet18", "mean": [0.5]},
        {"model": "resnet18", "mean": "dark"},
        {"model": "resnet18", "std": [0.2, 0.2, 0]},
        {"model": "resnet18\x1b[2J"},
        {"model": ["resnet18"]},
        {"model": None},
        "resnet18",
    ],
    ids=repr,
)
def test_settings_that_are_none(hyper_parameters, exported, tmp_path):
    checkpoint = torch.load(exported / "encoder.pth", weights_only=True)
    del checkpoint["rs_otl"]
    checkpoint["hyper_parameters"] = hyper_parameters
    torch.save(checkpoint, tmp_path / "wrong.pth")
    refused(tmp_path / "wrong.pth", "wrong.pth")


@pytest.mark.parametrize(
    "content", [[], {}, {"state_dict": 3}, 7, "text", torch.zeros(3)], ids=repr
)
def test_checkpoints_of_something_else(content, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "other.pth")


def test_half_precision_weights_are_taken(directory):
    path = directory / "model.safetensors"
    weights = load_file(path)
    halves = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    save_file(halves, path)
    loaded = load_encoder(directory)
    assert loaded.module.conv1.weight.dtype == torch.float32
    assert loaded.embed(torch.rand(1, 3, 32, 32)).isfinite().all()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["config.json", "model.safetensors", "encoder.pth"]),
    damage=st.one_of(
        st.binary(max_size=200).map(lambda junk: lambda whole: junk),
        st.floats(0, 1).map(lambda share: lambda whole: whole[: int(share * len(whole))]),
        st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=8)).map(
            lambda at: (
                lambda whole: (
                    whole[: int(at[0] * len(whole))]
                    + at[1]
                    + whole[int(at[0] * len(whole)) + len(at[1]) :]
                )
            )
        ),
    ),
)
@example(name="model.safetensors", damage=lambda whole: b"\xff" * 7 + b"\x7f" + whole)
@example(name="encoder.pth", damage=lambda whole: whole[:-3])
def test_damaged_bytes_are_refused_or_harmless(name, damage, exported, tmp_path):
    directory = tmp_path / "encoder"
    shutil.copytree(exported, directory, dirs_exist_ok=True)
    (directory / name).write_bytes(damage((exported / name).read_bytes()))
    line = ""
    try:
        load_encoder(directory / name if name == "encoder.pth" else directory)
    except InputError as error:
        line = str(error)
    # Loaded, where a bit of a weight or of a text has changed.
    assert not line or ("encoder" in line and line.isprintable())
