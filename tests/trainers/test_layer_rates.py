"""Layer-wise learning rates, and mixing images."""

import copy

import pytest
import torch
from lightning.pytorch import Callback
from random_weights import shallow
from small_run import small_trainer
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import MixUp

from rs_otl.errors import InputError
from rs_otl.recipe import recipe_for
from rs_otl.runs.pretraining import make_task
from rs_otl.spec import PAPER_MEAN, PAPER_STD, RGB, EncoderConfig, ImageSpec
from rs_otl.trainers import OTLTask, otl

SMALL = {"views": 2, "size": 32, "augment": "simple", "lr": 0.1, "clusters": 4}


def _loader():
    generator = torch.Generator().manual_seed(0)
    samples = [
        {"image": torch.rand(3, 37, 37, generator=generator), "index": torch.tensor(place)}
        for place in range(8)
    ]
    return DataLoader(samples, batch_size=8)


def _trained(**changes):
    """Train for a step; return the change of each tensor of the encoder, and the task."""
    task = OTLTask(**SMALL | changes)
    before = copy.deepcopy(task.encoder.state_dict())
    small_trainer(1).fit(task, _loader())
    after = task.encoder.state_dict()
    return {name: (after[name] - before[name]).float().norm() for name in before}, task


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("vit_tiny_patch16_224", ("blocks.0.mlp.fc1.weight", "blocks.2.mlp.fc1.weight")),
        ("test_resnet", ("layer1.0.conv1.weight", "layer4.0.conv2.weight")),
    ],
)
def test_the_first_layers_move_less_than_the_last(model, layers, monkeypatch):
    shallow(monkeypatch, depth=3)
    whole, _ = _trained(model=model)
    decayed, task = _trained(model=model, layer_decay=0.5)
    first, last = (float(decayed[name] / whole[name]) for name in layers)
    assert first < 0.3 < last <= 1.001
    groups = task.trainer.optimizers[0].param_groups
    rates = {group["initial_lr"] for group in groups}
    assert max(rates) == groups[0]["initial_lr"] == SMALL["lr"]  # of the heads, which is logged
    assert len(rates) > 3
    assert sum(len(group["params"]) for group in groups) == len(list(task.parameters()))


def test_a_rate_for_all_and_unmixed_images_are_as_before():
    plain, task = _trained(model="test_resnet")
    same, _ = _trained(model="test_resnet", layer_decay=1.0, mixup=0.0)
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    assert len(task.trainer.optimizers[0].param_groups) == 1


def test_images_are_mixed_as_torchvision_does_it():
    task = OTLTask(**SMALL, mixup=0.4)
    images = torch.randint(0, 256, (6, 3, 37, 37), dtype=torch.uint8)
    torch.manual_seed(1)
    mixed, shares = task._mixed(images)
    torch.manual_seed(1)
    expected, labels = MixUp(alpha=0.4, num_classes=6)(images / 255, torch.arange(6))
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(shares, labels)
    torch.testing.assert_close(shares.sum(1), torch.ones(6))


def test_labels_are_made_from_images_as_they_are(monkeypatch):
    def untouched(*_, **__):
        raise AssertionError

    task = OTLTask(**SMALL, mixup=0.4)
    monkeypatch.setattr(otl, "MixUp", untouched)
    task.view_outputs(torch.rand(4, 3, 37, 37))


def test_what_is_beyond_bounds_is_refused():
    with pytest.raises(InputError, match=r"layer_decay = 0: expected a number above 0"):
        OTLTask(layer_decay=0)
    with pytest.raises(InputError, match=r"mixup = 1.5: expected a number from 0 to 1"):
        OTLTask(mixup=1.5)
    with pytest.raises(InputError, match=r"mixup = 0.5 with relabel = reuse.*relabel = fresh"):
        OTLTask(mixup=0.5, relabel="reuse")


def test_a_run_with_both_resumes_to_the_bit(tmp_path):
    class Save(Callback):
        def on_train_epoch_end(self, trainer, task):
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "first.ckpt")

    changes = {"model": "test_resnet", "layer_decay": 0.7, "mixup": 0.5}
    whole, resumed = (OTLTask(**SMALL | changes) for _ in range(2))
    small_trainer(2, callbacks=[Save()]).fit(whole, _loader())
    path = tmp_path / "first.ckpt"
    small_trainer(2).fit(resumed, _loader(), ckpt_path=path, weights_only=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_recipe_has_both_within_bounds():
    recipe, _ = recipe_for("images", "adapt", ["layer_decay=0.7", "mixup=0.3"])
    assert (recipe.layer_decay, recipe.mixup) == (0.7, 0.3)
    for wrong, said in (
        ("mixup=2", "mixup = 2: Input should be less than or equal to 1"),
        ("layer_decay=0", "layer_decay = 0: Input should be greater than 0"),
    ):
        with pytest.raises(InputError, match=said):
            recipe_for("images", "adapt", [wrong])


def test_a_run_takes_both_from_its_recipe():
    recipe, _ = recipe_for("images", "otl", ["encoder=test_resnet", "layer_decay=0.7", "mixup=1"])
    spec = ImageSpec(
        bands=RGB, units="8-bit counts", scale=255, resolution=None, mean=PAPER_MEAN, std=PAPER_STD
    )
    config = EncoderConfig(
        encoder="test_resnet", image_size=64, spec=spec, dataset="images", epochs=1
    )
    task = make_task(recipe, config, None, 500)
    assert (task.hparams["layer_decay"], task.hparams["mixup"]) == (0.7, 1)
