import lightning
import numpy as np
import pytest
import torch

from rs_otl.datasets import OTLDataModule, load_dataset
from rs_otl.datasets.datamodule import EpochSampler
from rs_otl.errors import InputError


@pytest.fixture(params=[None, 0], ids=["held", "decoded"])
def imagery(request, tmp_path, write_image):
    for number in range(13):
        write_image(tmp_path / "ab"[number % 2] / f"{number:02}.png", seed=number, side=8)
    return load_dataset(str(tmp_path), 8, cache_bytes=request.param)


def _epochs(data, *epochs):
    loader = data.train_dataloader()
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        yield torch.cat([batch["index"] for batch in loader]).tolist()


TRAIN = np.array([0, 2, 3, 5, 6, 8, 9, 11, 12])


def test_batches_hold_training_images_and_no_label(imagery):
    data = OTLDataModule(imagery, TRAIN, batch_size=4, seed=0)
    batches = list(data.train_dataloader())
    assert len(batches) == 2
    for batch in batches:
        assert set(batch) == {"image", "index"}
        assert batch["image"].shape == (4, 3, 8, 8)
        assert torch.equal(batch["image"], imagery.uint8_batch(TRAIN[batch["index"].numpy()]))


def test_labels_are_not_even_read(imagery):
    imagery.labels = None
    imagery.classes = None
    batch = next(iter(OTLDataModule(imagery, TRAIN, 4, seed=0).train_dataloader()))
    assert set(batch) == {"image", "index"}


def test_every_epoch_has_its_own_reproducible_order(imagery):
    data = OTLDataModule(imagery, TRAIN, batch_size=9, seed=3)
    zero, one, zero_again = _epochs(data, 0, 1, 0)
    assert zero == zero_again != one
    assert sorted(one) == list(range(9))
    (resumed,) = _epochs(OTLDataModule(imagery, TRAIN, batch_size=9, seed=3), 1)
    assert resumed == one
    (other,) = _epochs(OTLDataModule(imagery, TRAIN, batch_size=9, seed=4), 1)
    assert other != one


def test_workers_decode_what_is_not_held(imagery):
    data = OTLDataModule(imagery, TRAIN, batch_size=3, seed=0, num_workers=1)
    assert data.num_workers == (0 if imagery.cached else 1)
    alone = OTLDataModule(imagery, TRAIN, batch_size=3, seed=0)
    pairs = zip(data.train_dataloader(), alone.train_dataloader(), strict=True)
    assert all(torch.equal(one["image"], two["image"]) for one, two in pairs)


@pytest.mark.parametrize("batch_size", [0, 10])
def test_batches_that_cannot_be_filled_are_refused(imagery, batch_size):
    with pytest.raises(InputError, match="between 1 and the 9 training images"):
        OTLDataModule(imagery, TRAIN, batch_size, seed=0)


class _Recorder(lightning.LightningModule):
    """Notes which images it is shown."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.shown = {}

    def training_step(self, batch, batch_idx):
        self.shown.setdefault(self.current_epoch, []).extend(batch["index"].tolist())
        return self.layer(batch["image"].float().mean().view(1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_lightning_tells_the_sampler_the_epoch(imagery):
    data = OTLDataModule(imagery, TRAIN, batch_size=9, seed=3)
    task = _Recorder()
    lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    ).fit(task, data)
    assert [task.shown[epoch] for epoch in range(3)] == list(_epochs(data, 0, 1, 2))


def test_labels_come_with_the_batches_where_asked_for(imagery):
    data = OTLDataModule(imagery, TRAIN, batch_size=4, seed=0, labelled=True)
    for batch in data.train_dataloader():
        expected = imagery.labels[TRAIN[batch["index"].numpy()]]
        assert batch["label"].tolist() == expected.tolist()


def test_labels_that_are_not_there_cannot_be_asked_for(imagery):
    imagery.labels = None
    with pytest.raises(InputError, match="no labels to train with"):
        OTLDataModule(imagery, TRAIN, batch_size=4, seed=0, labelled=True)


def test_processes_share_an_order_without_overlap_in_equal_parts():
    whole = list(EpochSampler(11, seed=3))
    parts = [EpochSampler(11, 3, processes=2, rank=rank) for rank in range(2)]
    assert [len(part) for part in parts] == [5, 5]
    for part in parts:
        part.set_epoch(1)
    first, second = (list(part) for part in parts)
    assert len({*first, *second}) == 10
    assert first != whole[::2][:5]


def test_images_held_where_training_is_are_those_of_the_batches(imagery):
    plain = OTLDataModule(imagery, TRAIN, batch_size=4, seed=0)
    held = OTLDataModule(imagery, TRAIN, batch_size=4, seed=0, on_gpu=True)
    for one, other in zip(plain.train_dataloader(), held.train_dataloader(), strict=True):
        assert set(other) == {"index"}
        assert torch.equal(one["image"], held.on_after_batch_transfer(other, 0)["image"])
