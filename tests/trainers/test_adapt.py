"""Adapting an encoder that knows something already."""

import pytest
import torch
from small_run import small_trainer
from torch.utils.data import DataLoader, Dataset

from rs_otl.errors import InputError
from rs_otl.models import CosineHead, evaluation_transforms
from rs_otl.trainers import OTLTask

SETTINGS = {"model": "test_resnet", "views": 2, "size": 32, "augment": "simple", "lr": 0.01}
SETTINGS["temperature"] = 0.2


class _Noise(Dataset):
    def __init__(self, count=24):
        self.images = torch.rand(count, 3, 37, 37, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        return {"image": self.images[place], "index": torch.tensor(place)}


def _fit(task, epochs=1, **changes):
    trainer = small_trainer(epochs, **changes)
    trainer.fit(task, DataLoader(_Noise(), batch_size=8, shuffle=True))
    return trainer


def _statistics(task):
    return {name: value.clone() for name, value in task.encoder.named_buffers()}


def test_every_image_may_be_a_cluster_of_its_own():
    task = OTLTask(clusters=24, freeze_batch_norm=True, **SETTINGS)
    _fit(task)
    assert torch.equal(task.pseudo_labels.labels, torch.arange(24).expand(2, 1, 24))


def test_the_head_is_filled_from_the_plain_views():
    task = OTLTask(clusters=24, freeze_batch_norm=True, **(SETTINGS | {"lr": 1e-12}))
    _fit(task)
    data = _Noise()
    view = evaluation_transforms(32, task.hparams["mean"], task.hparams["std"])
    with torch.no_grad():
        features = task.eval().encoder(view(data.images))
        outputs = task.heads(features)[0]
    torch.testing.assert_close(task.heads.centre, features.mean(0), rtol=1e-3, atol=1e-4)
    # An image's own direction is as like it as can be: cosine 1, over the temperature.
    torch.testing.assert_close(outputs.diagonal(), torch.full((24,), 5.0), rtol=1e-3, atol=1e-3)
    assert torch.equal(outputs.argmax(1), torch.arange(24))


def test_fewer_clusters_are_filled_evenly_and_shared_by_the_views():
    task = OTLTask(clusters=4, freeze_batch_norm=True, **SETTINGS)
    trainer = _fit(task)
    assert torch.equal(task.pseudo_labels.labels[0], task.pseudo_labels.labels[1])
    counts = task.pseudo_labels.labels[0, 0].bincount(minlength=4)
    assert counts.sum() == 24
    assert trainer.callback_metrics["std"] <= trainer.callback_metrics["initial_std"]


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_normalisation_is_kept_as_it_came_where_asked_for(frozen):
    task = OTLTask(clusters=4, freeze_batch_norm=frozen, **SETTINGS)
    before = _statistics(task)
    weights = task.encoder.conv1[0].weight.detach().clone()
    _fit(task)
    after = _statistics(task)
    assert all(torch.equal(before[name], after[name]) for name in before) is frozen
    assert not torch.equal(task.encoder.conv1[0].weight, weights)
    task.eval()
    task.train()
    assert task.encoder.bn1.training is not frozen
    assert task.encoder.training


def test_the_rate_warms_up_and_falls_within_the_epochs():
    rates = []

    class _Task(OTLTask):
        def on_train_batch_start(self, batch, batch_idx):
            super().on_train_batch_start(batch, batch_idx)
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    _fit(_Task(clusters=4, warmup=2, **SETTINGS), epochs=2)
    expected = [0.5, 0.933, 0.75, 0.5, 0.25, 0.067]  # of 0.01; a cosine over six steps
    assert rates == pytest.approx([0.01 * share for share in expected], rel=1e-2)


def test_a_filled_head_is_one_head_without_hidden_layer():
    for change in ({"heads": 2}, {"hidden": 16}):
        with pytest.raises(InputError, match="expected heads = 1 and hidden = 0"):
            OTLTask(clusters=4, **(SETTINGS | change))


def test_what_features_have_in_common_does_not_count():
    head = CosineHead(3, 2, temperature=0.5)
    features = torch.randn(5, 3)
    plain = head(features)
    head.centre.copy_(torch.tensor([7.0, -2.0, 1.0]))
    torch.testing.assert_close(head(features + head.centre), plain, rtol=1e-4, atol=1e-5)
    assert head(features).abs().max() <= 2 + 1e-5
