import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from rs_otl.errors import InputError
from rs_otl.evaluation import OnlineKNN, extract_features, knn_predict
from rs_otl.models import Encoder

# Lightning advises more workers: batches come from memory here.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Task(LightningModule):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def training_step(self, batch, _):
        return (self.encoder(batch["image"]) * torch.randn(8)).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Recorder(OnlineKNN):
    """Note what the log holds after each epoch, and what changed meanwhile."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.scores = {}

    def on_train_epoch_end(self, trainer, pl_module):
        state = {name: value.clone() for name, value in pl_module.state_dict().items()}
        random_state = torch.get_rng_state()
        modes = [part.training for part in pl_module.modules()]
        super().on_train_epoch_end(trainer, pl_module)
        assert torch.equal(torch.get_rng_state(), random_state)
        assert [part.training for part in pl_module.modules()] == modes
        assert all(modes)
        assert torch.is_grad_enabled()
        for name, value in pl_module.state_dict().items():
            assert torch.equal(value, state[name]), name
        if "knn" in trainer.callback_metrics:
            self.scores[trainer.current_epoch] = trainer.callback_metrics["knn"].item()


def fit(module, dataset, callbacks, epochs):
    torch.manual_seed(0)
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    task = Task(module)
    trainer.fit(task, DataLoader(dataset, batch_size=40, collate_fn=lambda batch: batch))
    return trainer, task


def test_the_score_is_that_of_the_encoder_and_nothing_is_disturbed(module, config, pile):
    dataset = pile(noise=1.0)
    monitor = Recorder(dataset, range(80), range(80, 120), config)
    trainer, task = fit(module, dataset, [monitor], epochs=3)
    assert set(monitor.scores) == {0, 1, 2}
    train, test = (
        extract_features(Encoder(task.encoder, config), dataset, indices)
        for indices in (range(80), range(80, 120))
    )
    labels = torch.from_numpy(dataset.labels)
    correct = knn_predict(train, labels[:80], test, k=[10])[10] == labels[80:]
    assert trainer.callback_metrics["knn"].item() == pytest.approx(correct.float().mean().item())


def test_training_is_the_same_without_it(config, pile):
    dataset = pile()

    def trained(callbacks):
        torch.manual_seed(1)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        return fit(module, dataset, callbacks, epochs=3)[1].state_dict()

    watched = trained([OnlineKNN(dataset, range(80), range(80, 120), config)])
    for name, value in trained([]).items():
        assert torch.equal(value, watched[name]), name


def test_it_scores_every_so_often_and_at_the_end(module, config, pile):
    class Counting(OnlineKNN):
        epochs: tuple = ()

        def on_train_epoch_end(self, trainer, pl_module):
            asked = len(self.dataset.asked)
            super().on_train_epoch_end(trainer, pl_module)
            if len(self.dataset.asked) > asked:
                self.epochs += (trainer.current_epoch,)

    monitor = Counting(pile(), range(80), range(80, 120), config, every=3)
    fit(module, pile(), [monitor], epochs=7)
    assert monitor.epochs == (2, 5, 6)


def test_labels_are_needed(config, pile):
    flat = pile()
    flat.labels = None
    with pytest.raises(InputError, match="pile has no labels"):
        OnlineKNN(flat, range(80), range(80, 120), config)
