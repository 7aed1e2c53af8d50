"""Probing an encoder stage by stage."""

import io
import json

import pytest
import torch
from command_line import draw_folder, rs_otl_here
from rich.console import Console

from rs_otl.errors import InputError
from rs_otl.evaluation import EvaluationReport, evaluate, stage_features, stages
from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import RGB, EncoderConfig, ImageSpec

SPEC = ImageSpec(
    bands=RGB, units="8-bit counts", scale=255, resolution=None, mean=(0.5,) * 3, std=(0.25,) * 3
)
AT_32 = EncoderConfig(encoder="resnet18", image_size=32, spec=SPEC, dataset="made", epochs=0)


@pytest.fixture(scope="module")
def resnet():
    return Encoder(create_encoder("resnet18", 3), AT_32)


def test_stages_are_timms_and_their_maps_are_pooled_to_some_nine_thousand_numbers(pile):
    alexnet = AT_32.model_copy(update={"encoder": "alexnet_bn", "image_size": 224})
    encoder = Encoder(create_encoder("alexnet_bn", 3), alexnet)
    assert stages(encoder) == ("conv1", "conv2", "conv3", "conv4", "conv5")
    sizes = [stage_features(encoder, pile(), [0, 1], stage).shape for stage in range(5)]
    assert sizes == [(2, 9600), (2, 9216), (2, 9600), (2, 9600), (2, 9216)]


def test_a_probe_is_the_linear_classifier_on_the_pooled_map(resnet, pile, division):
    found = evaluate(resnet, pile(), division(range(80), range(80, 120)), layers=(1, -1))
    assert [layer.name for layer in found.layers] == ["layer1", "layer4"]
    assert [layer.numbers for layer in found.layers] == [64 * 8 * 8, 512]
    first, last = found.layers
    assert first.linear.accuracy > 0.9  # the colour is the class
    assert first.knn is None
    assert 0 <= last.knn.low <= last.knn.accuracy <= 1
    # One pixel is left of the last map: the encoder's own features, pooled.
    assert last.linear == found.linear_standardised
    text = io.StringIO()
    EvaluationReport(encoders=(found,)).table(Console(file=text, width=120))
    assert "layer1" in text.getvalue()
    assert "4,096" in text.getvalue()
    assert evaluate(resnet, pile(), division(range(80), range(80, 120))).layers == ()


def test_probing_changes_nothing(resnet, pile):
    before = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    resnet.train()
    stage_features(resnet, pile(), range(4), 0)
    assert resnet.training
    assert resnet.module.training
    assert all(torch.equal(before[name], one) for name, one in resnet.state_dict().items())


def test_an_encoder_without_stages_is_refused(encoder, pile, division):
    with pytest.raises(InputError, match="gives no maps of its stages"):
        evaluate(encoder, pile(), division(range(80), range(80, 120)), layers=(0,))


@pytest.mark.parametrize("stage", [5, -6])
def test_a_stage_that_is_none_is_refused(stage, resnet, pile, division):
    with pytest.raises(InputError, match=f"stage {stage}.*resnet18.*0 to 4 or -5 to -1"):
        evaluate(resnet, pile(), division(range(80), range(80, 120)), layers=(0, stage))
    with pytest.raises(InputError, match=f"stage {stage}.*resnet18.*0 to 4 or -5 to -1"):
        stage_features(resnet, pile(), [0, 1], stage)


def test_a_stage_may_be_counted_from_the_last(resnet, pile):
    last = stage_features(resnet, pile(), [0, 1], -1)
    assert torch.equal(last, stage_features(resnet, pile(), [0, 1], 4))


def test_the_command_writes_and_prints_them(resnet, tmp_path):
    draw_folder(tmp_path / "images")
    export_encoder(resnet, tmp_path / "encoder")
    done = rs_otl_here("evaluate", "encoder", "--on", "images", "--layers", cwd=tmp_path)
    assert "Stage by stage" in done.stdout
    (path,) = tmp_path.rglob("evaluation.json")
    layers = json.loads(path.read_text())["encoders"][0]["layers"]
    assert [layer["name"] for layer in layers] == ["act1", "layer1", "layer2", "layer3", "layer4"]
    assert layers[-1]["knn"] is not None
