from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch

from rs_otl.datasets import Division, Duplicates, IndexedDataset, OTLDataModule, load_dataset
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
TEST = np.array([1, 4, 7, 10])


def _data(images, **settings):
    division = Division(1, TRAIN, TEST, Duplicates((), (), 0))
    data = OTLDataModule(images, **({"division": division, "seed": 0} | settings))
    data.setup()
    return data


def test_batches_hold_training_images_and_no_label(imagery):
    data = _data(imagery, batch_size=4, seed=0)
    batches = list(data.train_dataloader())
    assert len(batches) == 2
    for batch in batches:
        assert set(batch) == {"image", "index"}
        assert batch["image"].shape == (4, 3, 8, 8)
        assert torch.equal(batch["image"], imagery.uint8_batch(TRAIN[batch["index"].numpy()]))


def test_labels_are_not_even_read(imagery):
    imagery.labels = None
    imagery.classes = None
    batch = next(iter(_data(imagery, batch_size=4).train_dataloader()))
    assert set(batch) == {"image", "index"}


def test_every_epoch_has_its_own_reproducible_order(imagery):
    data = _data(imagery, batch_size=9, seed=3)
    zero, one, zero_again = _epochs(data, 0, 1, 0)
    assert zero == zero_again != one
    assert sorted(one) == list(range(9))
    (resumed,) = _epochs(_data(imagery, batch_size=9, seed=3), 1)
    assert resumed == one
    (other,) = _epochs(_data(imagery, batch_size=9, seed=4), 1)
    assert other != one


def test_workers_decode_what_is_not_held(imagery):
    data = _data(imagery, batch_size=3, seed=0, num_workers=1)
    assert data.num_workers == (0 if imagery.cached else 1)
    alone = _data(imagery, batch_size=3, seed=0)
    pairs = zip(data.train_dataloader(), alone.train_dataloader(), strict=True)
    assert all(torch.equal(one["image"], two["image"]) for one, two in pairs)


@pytest.mark.parametrize("batch_size", [0, 10])
def test_batches_that_cannot_be_filled_are_refused(imagery, batch_size):
    with pytest.raises(InputError, match="between 1 and the 9 training images"):
        _data(imagery, batch_size=batch_size)


def test_a_batch_that_no_process_can_fill_is_refused(imagery):
    division = Division(1, TRAIN, TEST, Duplicates((), (), 0))
    data = OTLDataModule(imagery, division=division, batch_size=5)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0)
    with pytest.raises(InputError, match=r"between 1 and the 4 training images of .* in each"):
        data.setup()


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
@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`")
def test_lightning_tells_the_sampler_the_epoch(imagery):
    data = _data(imagery, batch_size=9, seed=3)
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
    data = _data(imagery, batch_size=4, seed=0, supervised=True)
    for batch in data.train_dataloader():
        expected = imagery.labels[TRAIN[batch["index"].numpy()]]
        assert batch["label"].tolist() == expected.tolist()


def test_labels_that_are_not_there_cannot_be_asked_for(imagery):
    imagery.labels = None
    with pytest.raises(InputError, match="no labels to train with"):
        _data(imagery, batch_size=4, seed=0, supervised=True)


def test_processes_share_an_order_without_overlap_in_equal_parts(imagery):
    parts = []
    for rank in range(2):
        data = _data(imagery, batch_size=2)
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank)
        parts.append(next(_epochs(data, 1)))
    assert [len(part) for part in parts] == [4, 4]
    assert len({*parts[0], *parts[1]}) == 8


def test_labelled_test_images_are_there_to_validate_on(imagery):
    data = _data(imagery, batch_size=3)
    batches = list(data.val_dataloader())
    assert (
        torch.cat([batch["label"] for batch in batches]).tolist() == imagery.labels[TEST].tolist()
    )
    imagery.labels = None
    assert _data(imagery, batch_size=3).val_dataloader() == []


def test_it_is_made_of_plain_values(tmp_path, write_image):
    for number in range(13):
        write_image(tmp_path / "ab"[number % 2] / f"{number:02}.png", seed=number, side=40)
    data = OTLDataModule(str(tmp_path), size=32, batch_size=4)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 37, 37)
    assert data.mean.shape == (3,)


def test_any_data_set_can_be_given_positions():
    samples = IndexedDataset([{"image": torch.rand(3, 4, 4), "index": 7} for _ in range(3)])
    assert [int(samples[i]["index"]) for i in range(len(samples))] == [0, 1, 2]


def test_images_held_where_training_is_are_those_of_the_batches(imagery):
    plain = _data(imagery, batch_size=4, seed=0)
    held = _data(imagery, batch_size=4, seed=0, cache="gpu")
    for one, other in zip(plain.train_dataloader(), held.train_dataloader(), strict=True):
        assert set(other) == {"index"}
        assert torch.equal(one["image"], held.on_after_batch_transfer(other, 0)["image"])


def test_orders_apart_show_every_image_once_each_and_keep_the_last_batch(imagery):
    data = _data(imagery, batch_size=4, orders=2, seed=3)
    loader = data.train_dataloader()
    batches = [batch["index"] for batch in loader]
    assert [len(batch) for batch in batches] == [8, 8]  # the ninth image would be alone
    for order in zip(*(batch.chunk(2) for batch in batches), strict=True):
        assert len(set(torch.cat(order).tolist())) == 8
    loader = _data(imagery, batch_size=7, orders=2, seed=3).train_dataloader()
    assert [len(batch["index"]) for batch in loader] == [14, 4]
    first, second, again = _epochs(_data(imagery, batch_size=9, orders=2, seed=3), 0, 1, 0)
    assert first == again != second
    assert first[:9] != first[9:]
    assert sorted(first[9:]) == list(range(9))
