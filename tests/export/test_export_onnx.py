import json
import sys

import onnx
import onnxruntime
import pytest
import torch

from rs_otl.errors import InputError
from rs_otl.export import export_encoder, loaders, onnx_model
from rs_otl.models import Encoder


@pytest.mark.parametrize("batch", [1, 3])
def test_onnxruntime_gives_the_same_features_in_any_batch(exported, batch):
    encoder, _, directory = exported
    session = onnxruntime.InferenceSession(directory / "model.onnx")
    images = torch.rand(batch, 4, 64, 64)
    (features,) = session.run(["features"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(features), encoder(images), rtol=1e-3, atol=1e-4)


def test_the_model_carries_its_description(exported):
    model = onnx.load(exported[2] / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["rs_otl"])["spec"]["bands"] == ["red", "green", "blue", "nir"]


@pytest.mark.parametrize("difference", [0.5, float("nan")])
def test_a_model_that_differs_is_not_exported(difference, exported, tmp_path, monkeypatch):
    encoder, config, _ = exported
    monkeypatch.setattr(onnx_model, "onnx_difference", lambda *_: difference)
    with pytest.raises(RuntimeError, match="differs"):
        export_encoder(Encoder(encoder, config), tmp_path / "encoder", onnx=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("difference", [0.5, float("nan")])
def test_a_model_that_differs_is_unequal(difference, exported, monkeypatch):
    encoder, config, directory = exported
    monkeypatch.setattr(loaders, "onnx_difference", lambda *_: difference)
    (compare,) = [
        one.compare
        for one in loaders.loaders(config, str(directory), None, onnx=True)
        if one.name == "onnxruntime"
    ]
    with pytest.raises(ValueError, match="features differ"):
        compare({"session": None}, Encoder(encoder, config))


class _Constant(torch.nn.Module):
    """Gives the same number as every feature, as an encoder and as a session of onnxruntime."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, images):
        return torch.full((len(images), 2), self.value)

    def run(self, _, given):
        return [self(given["images"]).numpy()]


@pytest.mark.parametrize(("ours", "theirs", "same"), [(0, 0, True), (0, 1, False), (2, 2, True)])
def test_the_difference_is_known_even_where_all_features_are_0(ours, theirs, same, described):
    encoder = Encoder(_Constant(float(ours)), described())
    difference = onnx_model.onnx_difference(encoder, _Constant(float(theirs)))
    assert (difference <= onnx_model.TOLERANCE) == same


def test_without_the_extra_it_says_how_to_install_it(exported, tmp_path, monkeypatch):
    encoder, config, _ = exported
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"ONNX needs onnxscript: run pip install '\.\[onnx\]'"):
        export_encoder(Encoder(encoder, config), tmp_path / "encoder", onnx=True)
    assert not list(tmp_path.iterdir())
