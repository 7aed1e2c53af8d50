import math

import pytest
import torch
from small_run import small_trainer
from torch.utils.data import DataLoader, Dataset

from rs_otl.trainers import OTLTask


class _Colours(Dataset):
    """Noisy images of four colours, the colour their label."""

    def __init__(self, count=48):
        generator = torch.Generator().manual_seed(0)
        colours = torch.rand(4, 3, 1, 1, generator=generator)
        noise = torch.rand(count, 3, 37, 37, generator=generator)
        self.labels = torch.arange(count) % 4
        self.images = (0.8 * colours[self.labels] + 0.2 * noise).clamp(0, 1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        return {"image": self.images[place], "label": self.labels[place]}


SETTINGS = {"views": 2, "size": 32, "augment": "simple", "lr": 0.05, "seed": 3}


def _fit(task, epochs):
    trainer = small_trainer(epochs)
    trainer.fit(task, DataLoader(_Colours(), batch_size=16, shuffle=True))
    return trainer.callback_metrics


def test_it_learns_the_labels_under_anyones_trainer():
    task = OTLTask(supervised=True, clusters=4, **SETTINGS)
    metrics = _fit(task, epochs=4)
    assert metrics["ln_k"] == pytest.approx(math.log(4))
    assert metrics["loss"] < 0.7 * math.log(4)
    assert math.isfinite(metrics["images_per_second"])
    data = _Colours()
    view = torch.nn.functional.interpolate(data.images, 32)
    task.eval()
    normalise = task.augmentations
    with torch.no_grad():
        outputs = task((view - normalise.mean) / normalise.std)[0]
    assert (outputs.argmax(1) == data.labels).float().mean() > 0.6


def test_every_view_is_to_predict_the_label():
    task = OTLTask(supervised=True, clusters=4, **SETTINGS)
    task.log = lambda *_, **__: None
    seen = []
    task.view_outputs = lambda images: seen.append(torch.randn(2, 1, 3, 4)) or seen[0]
    labels = torch.tensor([3, 0, 2])
    loss = task.training_step({"image": torch.rand(3, 3, 37, 37), "label": labels}, 0)
    expected = [torch.nn.functional.cross_entropy(view[0], labels) for view in seen[0]]
    torch.testing.assert_close(loss, torch.stack(expected).sum())


def test_it_starts_from_the_encoder_that_otl_starts_from():
    supervised = OTLTask(supervised=True, clusters=4, **SETTINGS).encoder.state_dict()
    otl = OTLTask(clusters=4, **SETTINGS).encoder.state_dict()
    assert all(torch.equal(supervised[name], otl[name]) for name in otl)


def test_settings_are_kept_with_their_defaults():
    hparams = OTLTask(supervised=True, clusters=4, **SETTINGS).hparams
    assert hparams["clusters"] == 4
    assert hparams["seed"] == 3
    assert hparams["momentum"] == 0.9
