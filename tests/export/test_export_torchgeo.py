"""All that needs torchgeo's trainers, whose import is slow: they train, the card, --verify."""

import ast
import copy
import importlib.util
import re
import shutil

import pytest
import timm
import torch
from lightning.pytorch import Trainer
from rich.console import Console
from torch.utils.data import DataLoader
from torchgeo.trainers import ClassificationTask, SemanticSegmentationTask

from rs_otl.export import print_checks, verify_export
from rs_otl.export.loaders import loaders
from rs_otl.models import weights


def _train_one_step(task, label):
    samples = [
        {"image": torch.rand(4, 64, 64), label: torch.tensor(number % 3)}
        if label == "label"
        else {"image": torch.rand(4, 64, 64), label: torch.full((64, 64), number % 3)}
        for number in range(4)
    ]
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(samples, batch_size=4)
    trainer.fit(task, loader, loader)  # its schedule looks at the validation loss
    assert trainer.global_step == 1


@pytest.fixture(params=["checkpoint", "entry"])
def given(request, exported):
    directory = exported[2]
    return str(directory / "encoder.pth") if request.param == "checkpoint" else weights(directory)


def test_a_classification_task_starts_from_it_and_trains(exported, given, images):
    encoder, _, _ = exported
    task = ClassificationTask(model="resnet18", weights=given, in_channels=4, num_classes=3)
    started = copy.deepcopy(task.model)
    features = started.eval().forward_head(started.forward_features(images), pre_logits=True)
    torch.testing.assert_close(features, encoder(images))
    _train_one_step(task, "label")
    assert not torch.equal(task.model.conv1.weight, encoder.conv1.weight)


def test_a_segmentation_task_starts_from_it_and_trains(exported, given, images):
    encoder, _, _ = exported
    task = SemanticSegmentationTask(
        model="unet",
        backbone="resnet18",
        weights=given,
        in_channels=4,
        task="multiclass",
        num_classes=3,
    )
    started = copy.deepcopy(task.model.encoder).eval()
    torch.testing.assert_close(started(images)[-1], encoder.forward_features(images))
    _train_one_step(task, "mask")
    assert not torch.equal(task.model.encoder.conv1.weight, encoder.conv1.weight)


def test_segmentation_refuses_the_weights_of_another_architecture(exported):
    # ClassificationTask does not: it fills what fits, which the card and the docs say.
    with pytest.raises(RuntimeError, match="state_dict"):
        SemanticSegmentationTask(
            model="unet",
            backbone="resnet34",
            weights=str(exported[2] / "encoder.pth"),
            in_channels=4,
            task="multiclass",
            num_classes=3,
        )


@pytest.mark.parametrize("which", ["exported", "lite"])
def test_all_loaders_are_equal_and_the_card_prints_the_code_that_is_verified(
    which, request, monkeypatch
):
    _, _, directory = request.getfixturevalue(which)
    monkeypatch.chdir(directory.parent)  # as the card says
    printed = re.findall(
        r"### (.*?)\n\n```python\n(.*?)```", (directory / "README.md").read_text(), re.S
    )
    run = []
    monkeypatch.setattr(
        "rs_otl.export.verify.compile",
        lambda snippet, name, mode: run.append((name, snippet)) or compile(snippet, name, mode),
        raising=False,
    )
    checks = verify_export("my_encoder")
    assert {check.result for check in checks} == {"equal"}, checks
    expected = 12 if which == "exported" else 10  # less torchvision and ONNX
    assert len({check.loader for check in checks}) == expected
    print_checks(checks, console := Console(width=120, record=True))
    assert "onnxruntime" in console.export_text() or which == "lite"
    assert run == printed
    names = {name for name, _ in printed}
    assert names >= {"timm local-dir", "rs_otl.load_encoder", "torchgeo ClassificationTask"}
    assert ("onnxruntime" in names) == ("torchvision" in names) == (which == "exported")


def test_text_from_files_cannot_become_code(exported, described, tmp_path):
    directory = tmp_path / 'a "quoted" name'
    shutil.copytree(exported[2], directory)
    checks = verify_export(directory)
    assert {check.result for check in checks} == {"equal"}, checks
    config = described('x", print("executed")) #', ('a", print("executed"), "', "b"))
    for loader in loaders(config, '"\nraise', '"\nraise', onnx=True):
        code = ast.parse(loader.snippet)
        assert not any(isinstance(node, ast.Raise) for node in ast.walk(code))
        assert "executed" not in [getattr(node, "id", "") for node in ast.walk(code)]


def test_the_torchgeo_module_is_that_of_its_version(monkeypatch, described):
    config = described()
    find = importlib.util.find_spec
    for there, module in ((None, "torchgeo.trainers"), (object(), "torchgeo.tasks")):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, there=there: there if name == "torchgeo.tasks" else find(name),
        )
        code = "".join(loader.snippet for loader in loaders(config, "x", "resnet18", False))
        assert code.count(f"from {module} import") == 3


def test_loaders_that_do_not_get_it_are_named(exported, tmp_path, monkeypatch):
    directory = tmp_path / "changed"
    shutil.copytree(exported[2], directory)
    checkpoint = torch.load(directory / "encoder.pth", weights_only=True)
    checkpoint["state_dict"]["model.conv1.weight"] += 1  # shared by the plain keys
    torch.save(checkpoint, directory / "encoder.pth")
    other = timm.create_model("resnet18", num_classes=0, in_chans=4).eval()
    torch.onnx.export(
        other,
        (torch.rand(2, 4, 64, 64),),
        directory / "model.onnx",
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    results = {check.loader: check.result for check in verify_export(directory)}
    assert (
        results["timm local-dir"]
        == results["torchgeo ClassificationTask, rs_otl.models.weights"]
        == "equal"
    )
    assert results["timm checkpoint_path"] == results["torchgeo ClassificationTask"] == "unequal"
    assert results["torchvision"] == results["onnxruntime"] == "unequal"


class _Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_checkpoint_is_not_executed(exported, tmp_path):
    directory = tmp_path / "foreign"
    shutil.copytree(exported[2], directory)
    torch.save(_Code(tmp_path / "executed"), directory / "encoder.pth")
    results = {check.loader: check.result for check in verify_export(directory)}
    assert results["timm checkpoint_path"] == results["torchgeo ClassificationTask"] == "unequal"
    assert not (tmp_path / "executed").exists()


def test_what_is_not_installed_or_not_there_is_said(exported, tmp_path, monkeypatch):
    directory = tmp_path / "old"
    shutil.copytree(exported[2], directory)
    (directory / "encoder.pth").unlink()
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "rs_otl.export.verify.importlib.util.find_spec",
        lambda name: None if name == "onnxruntime" else find(name),
    )
    checks = {check.loader: check for check in verify_export(directory)}
    assert checks["onnxruntime"].result == "not installed"
    assert checks["torchvision"].result == "unequal"
    assert "export it again" in checks["torchvision"].detail
