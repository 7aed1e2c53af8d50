"""Contrast of views, alone and beside clusters."""

import json
import math
from itertools import combinations

import pytest
import torch
from command_line import draw_folder
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback
from small_run import small_trainer
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.utils.data import DataLoader, Dataset

from rs_otl.datasets import IndexedDataset
from rs_otl.errors import InputError
from rs_otl.models import load_encoder
from rs_otl.recipe import recipe_for
from rs_otl.runs import pretrain
from rs_otl.trainers import OTLTask, contrastive_loss

SETTINGS = {"model": "test_resnet", "size": 32, "augment": "simple", "clusters": 4, "lr": 0.05}


def _written_out(one, other):
    """NT-Xent of a pair of views, as in the paper of SimCLR (equation 1)."""
    images = torch.cat([one, other])
    losses = []
    for place in range(len(images)):
        others = [at for at in range(len(images)) if at != place]
        alike = torch.stack([cosine_similarity(images[place], images[at], 0) for at in others])
        target = others.index((place + len(one)) % len(images))
        losses.append(cross_entropy(alike / 0.2, torch.tensor(target)))
    return torch.stack(losses).mean()


@given(views=st.integers(2, 3), batch=st.integers(2, 5), seed=st.integers(0))
def test_the_loss_is_that_of_simclr_over_the_pairs_of_views(views, batch, seed):
    torch.manual_seed(seed % 2**32)
    projected = torch.randn(views, batch, 6)
    pairs = [_written_out(*pair) for pair in combinations(projected, 2)]
    expected = torch.stack(pairs).mean()
    torch.testing.assert_close(contrastive_loss(projected), expected, rtol=1e-4, atol=1e-5)


def test_views_that_are_all_alike_cost_a_guess():
    assert float(contrastive_loss(torch.ones(2, 8, 4))) == pytest.approx(math.log(15))


class _Places(Dataset):
    """Images that differ in their coarse pattern."""

    def __init__(self, count=32):
        drawn = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        self.images = torch.nn.functional.interpolate(drawn, 37, mode="bilinear")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        return {"image": self.images[place]}


@pytest.mark.parametrize("relabel", ["fresh", "reuse"])
@pytest.mark.parametrize("contrast", [0.5, 1.0])
def test_it_trains_under_anyones_trainer(contrast, relabel):
    task = OTLTask(contrast=contrast, relabel=relabel, reduction="mean", views=2, **SETTINGS)
    before = [value.clone() for value in task.encoder.parameters()]
    losses = []
    task.on_train_epoch_end = lambda: losses.append(float(trainer.callback_metrics["loss"]))
    trainer = small_trainer(25)
    trainer.fit(task, DataLoader(IndexedDataset(_Places()), batch_size=16, shuffle=True))
    metrics = trainer.callback_metrics
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5]), losses
    assert "ln_k" not in metrics
    assert (task.pseudo_labels.labels is None) == (contrast == 1)
    assert all(
        not torch.equal(*pair) for pair in zip(before, task.encoder.parameters(), strict=True)
    )


def test_its_two_parts_are_weighted():
    torch.manual_seed(0)
    images, index = torch.rand(6, 3, 37, 37), torch.arange(6)

    task = OTLTask(contrast=0.25, reduction="mean", views=2, **SETTINGS)
    task.pseudo_labels.labels = torch.arange(12).reshape(2, 1, 6) % 4
    task._trainer = small_trainer()
    task.log = task.log_dict = lambda *_, **__: None

    def loss(contrast):
        task.hparams["contrast"] = contrast
        torch.manual_seed(1)
        return task.training_step({"image": images, "index": index}, 0).item()

    clusters, both, contrast = (loss(share) for share in (0.0, 0.25, 1.0))
    assert both == pytest.approx(0.75 * clusters + 0.25 * contrast, rel=1e-3)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("views", 1),
        ("reduction", "sum"),
        ("views_apart", True),
        ("local_views", 1),
        ("mixup", 0.5),
        ("temperature", 0.2),
    ],
)
def test_what_cannot_be_contrasted_is_refused(key, value):
    with pytest.raises(InputError, match="contrast"):
        recipe_for("images", "otl", ["contrast=0.5", "hidden=0", f"{key}={json.dumps(value)}"])
    with pytest.raises(InputError, match="contrast"):
        OTLTask(**SETTINGS | {"contrast": 0.5, "reduction": "mean", key: value})


@pytest.mark.parametrize("contrast", [0.5, 1.0])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_the_projection_is_trained(contrast, layer_decay):
    task = OTLTask(
        contrast=contrast, reduction="mean", views=2, layer_decay=layer_decay, **SETTINGS
    )
    before = [value.clone() for value in task.projection.parameters()]
    small_trainer(1).fit(task, DataLoader(IndexedDataset(_Places()), batch_size=16))
    assert before
    for pair in zip(before, task.projection.parameters(), strict=True):
        assert not torch.equal(*pair)


class _Stop(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise InputError("stopped")


@pytest.mark.parametrize("contrast", [0.5, 1.0])
def test_a_run_that_was_stopped_resumes_to_the_bit(contrast, tmp_path):
    folder = draw_folder(tmp_path / "images")
    small = ["encoder=test_resnet", "image_size=32", "batch_size=16", "clusters=4", "hidden=8"]
    recipe, _ = recipe_for(str(folder), "quick", [*small, "epochs=3", f"contrast={contrast}"])
    whole = load_encoder(pretrain(recipe, out=tmp_path / "whole"))
    with pytest.raises(InputError, match="stopped"):
        pretrain(recipe, out=tmp_path / "stopped", callbacks=[_Stop()])
    resumed = load_encoder(pretrain(recipe, out=tmp_path / "stopped", resume=True))
    for name, value in resumed.module.state_dict().items():
        assert torch.equal(value, whole.module.state_dict()[name]), name


def test_a_run_with_labels_needs_no_contrast():
    recipe, _ = recipe_for("images", "quick", ["supervised=true"])
    assert recipe.contrast
    assert not recipe.makes_labels
